//! Reads a configuration key by key and goes on after each problem, so that a person is told all
//! of them at once; a derived deserializer stops at the first.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::problem::nearest;
use super::value::{self, integer};

/// One table of the file, or the place where it could be.
pub(super) struct Table<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) path: String,
    pub(super) entries: Option<&'a DeTable<'a>>,
    /// The keys that were asked for: what is not among them at the end is unknown.
    pub(super) asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn document(&self) -> &'a Document<'a> {
        self.document
    }

    /// The whole path of a key of this table.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Records what is wrong with a key of this table.
    pub(super) fn problem(&self, key: &str, what: impl Display, way_out: impl Display) {
        self.document.problem(&self.key(key), what, way_out);
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// The table under a key; an empty one where it is not set.
    pub(super) fn table(&self, key: &'static str) -> Self {
        let entries = self.value(key).and_then(|value| {
            let table = value.as_table();
            if table.is_none() {
                self.wrong_type(key, value, &format!("a table: [{}]", self.key(key)));
            }
            table
        });
        Table {
            document: self.document,
            path: self.key(key),
            entries,
            asked: RefCell::default(),
        }
    }

    /// The tables of an array under a key; none where it is not set.
    pub(super) fn tables(&self, key: &'static str) -> Option<Vec<Self>> {
        let value = self.value(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(
                key,
                value,
                &format!("an array of tables: [[{}]]", self.key(key)),
            );
            return None;
        };
        let mut tables = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            let Some(entries) = element.get_ref().as_table() else {
                let offset = element.span().start;
                let way_out = format!("write it as [[{}]]", self.key(key));
                self.document
                    .problem_at(offset, &path, "not a table", way_out);
                continue;
            };
            let entries = Some(entries);
            tables.push(Table {
                document: self.document,
                path,
                entries,
                asked: RefCell::default(),
            });
        }
        Some(tables)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.read(key, "true or false", DeValue::as_bool)
            .unwrap_or(default)
    }

    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.read(key, "a string", DeValue::as_str)
    }

    /// A number that has no default.
    pub(super) fn number(&self, key: &'static str) -> Option<u64> {
        self.read(key, "a number", integer)
    }

    pub(super) fn count(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let count = self.number(key);
        count.map_or(default, |count| {
            self.within(key, count, default, &range, |n| n.to_string())
        })
    }

    /// A count where the code wants the machine's own width.
    pub(super) fn length(
        &self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> usize {
        usize::try_from(self.count(key, default as u64, range)).unwrap_or(usize::MAX)
    }

    /// A number of bytes: an integer, or a string with a unit.
    pub(super) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(found) = self.value(key) else {
            return default;
        };
        let size = integer(found).or_else(|| found.as_str().and_then(value::size));
        let Some(size) = size else {
            self.wrong_type(
                key,
                found,
                "bytes as a number, or as a string such as \"64KiB\"",
            );
            return default;
        };
        self.within(key, size, default, &range, |n| n.to_string())
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(found) = self.value(key) else {
            return default;
        };
        let duration = found.as_str().map(humantime::parse_duration);
        let Some(Ok(duration)) = duration else {
            self.wrong_type(
                key,
                found,
                "a duration as a string, such as \"250ms\" or \"1h 30m\"",
            );
            return default;
        };
        let show = |duration| format!("\"{}\"", humantime::format_duration(duration));
        self.within(key, duration, default, &range, show)
    }

    /// A moment, in unix milliseconds.
    pub(super) fn moment(&self, key: &'static str) -> Option<u64> {
        self.read(
            key,
            "a time with its offset, such as 2026-11-24T18:30:00Z",
            value::moment,
        )
    }

    pub(super) fn address(&self, key: &'static str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.text(key) else {
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            let way_out = "write an IP address and a port: \"127.0.0.1:7400\" or \"[::1]:7400\"";
            self.problem(key, format!("{text:?} is not a socket address"), way_out);
            default
        })
    }

    /// One of a closed list of words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        words: &[(&'static str, T)],
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        self.word(&self.key(key), text, words).unwrap_or(default)
    }

    /// A list of words, each one of a closed list; the whole list where it is not set.
    pub(super) fn choices<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Vec<T> {
        let Some(list) = self.texts(key) else {
            return words.iter().map(|word| word.1).collect();
        };
        if list.is_empty() {
            self.problem(
                key,
                "an empty list allows nothing",
                "leave the key out to allow all",
            );
        }
        let mut chosen = Vec::new();
        for (index, text) in list.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            if let Some(choice) = self.word(&path, text, words)
                && !chosen.contains(&choice)
            {
                chosen.push(choice);
            }
        }
        chosen
    }

    /// A list of strings.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<&'a str>> {
        let array = self.read(key, "a list of strings", DeValue::as_array)?;
        let mut list = Vec::new();
        for (index, element) in array.iter().enumerate() {
            match element.get_ref().as_str() {
                Some(text) => list.push(text),
                None => {
                    let path = format!("{}[{index}]", self.key(key));
                    let what = format!("{} is not a string", element.get_ref().type_str());
                    self.document
                        .problem_at(element.span().start, &path, what, "put it in quotes");
                }
            }
        }
        Some(list)
    }

    /// Whether the key is set to this very text.
    pub(super) fn text_if(&self, key: &'static str, text: &str) -> bool {
        self.value(key).and_then(|value| value.as_str()) == Some(text)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.entries.iter().flat_map(|entries| entries.keys()) {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let way_out = match nearest(name, asked.iter().copied()) {
                Some(word) => format!("did you mean {word:?}?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            let path = self.key(name);
            self.document
                .problem_at(key.span().start, &path, "unknown key", way_out);
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.asked.borrow_mut().push(key);
        self.entries?.get(key).map(Spanned::get_ref)
    }

    fn read<T>(
        &self,
        key: &'static str,
        wanted: &str,
        take: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let taken = take(value);
        if taken.is_none() {
            self.wrong_type(key, value, wanted);
        }
        taken
    }

    fn wrong_type(&self, key: &str, found: &DeValue<'_>, wanted: &str) {
        let found = match found {
            // What was typed there may be one, only without its quotes.
            _ if key == "secret" => found.type_str().to_owned(),
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            other => other.type_str().to_owned(),
        };
        self.problem(
            key,
            format!("{found} does not fit"),
            format!("write {wanted}"),
        );
    }

    fn within<T: PartialOrd + Copy>(
        &self,
        key: &str,
        found: T,
        default: T,
        range: &RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> T {
        let (least, most) = (*range.start(), *range.end());
        if range.contains(&found) {
            return found;
        }
        let (side, limit) = if found < least {
            ("at least", least)
        } else {
            ("at most", most)
        };
        let what = format!("{} is out of range", show(found));
        self.problem(
            key,
            what,
            format!("write {side} {} (default {})", show(limit), show(default)),
        );
        default
    }

    fn word<T: Copy>(&self, path: &str, text: &str, words: &[(&'static str, T)]) -> Option<T> {
        if let Some(word) = words.iter().find(|word| word.0 == text) {
            return Some(word.1);
        }
        let known: Vec<_> = words.iter().map(|word| word.0).collect();
        let way_out = match nearest(text, known.iter().copied()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("write one of: {}", known.join(", ")),
        };
        self.document
            .problem(path, format!("unknown value {text:?}"), way_out);
        None
    }
}
