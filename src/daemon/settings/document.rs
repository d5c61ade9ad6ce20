//! A configuration file while it is read: its tree with the place of each value, and what has been
//! found wrong with it.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Problem, position};
use super::reader::Table;
use super::secrets::credential;
use super::value::integer;

/// A file as text, and what has been found wrong with it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    path: &'a Path,
    root: &'a DeTable<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, path: &'a Path, root: &'a DeTable<'a>) -> Self {
        Self {
            text,
            path,
            root,
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The table that is the whole file.
    pub(super) fn root(&'a self) -> Table<'a> {
        Table {
            document: self,
            path: String::new(),
            entries: Some(self.root),
            asked: RefCell::default(),
        }
    }

    /// Records what is wrong at this key, or at the nearest table around it that is there.
    pub(super) fn problem(&self, key: &str, what: impl Display, way_out: impl Display) {
        self.problem_at(self.locate(key), key, what, way_out);
    }

    /// Records what is odd at this key, yet can be run.
    pub(super) fn warn(&self, key: &str, what: impl Display, way_out: impl Display) {
        let problem = self.describe(self.locate(key), key, what, way_out);
        self.warnings.borrow_mut().push(problem);
    }

    pub(super) fn problem_at(
        &self,
        offset: usize,
        key: &str,
        what: impl Display,
        way_out: impl Display,
    ) {
        let problem = self.describe(offset, key, what, way_out);
        self.problems.borrow_mut().push(problem);
    }

    /// Problems, and warnings.
    pub(super) fn findings(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    /// The ids of all keys as typed, whatever else is wrong with them.
    pub(super) fn key_ids(&self) -> Vec<Option<u64>> {
        let id =
            |key: &Spanned<DeValue<'_>>| integer(key.get_ref().as_table()?.get("id")?.get_ref());
        self.array("keys")
            .iter()
            .flat_map(|keys| keys.iter())
            .map(id)
            .collect()
    }

    /// Whether an array of the whole file is there and empty.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.array(key).is_some_and(|array| array.is_empty())
    }

    fn array(&self, key: &str) -> Option<&DeArray<'a>> {
        self.root.get(key)?.get_ref().as_array()
    }

    /// A path of the configuration, seen from the directory of its file, or among the credentials
    /// of the service.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        if let Some(path) = credential(path) {
            return path;
        }
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn describe(
        &self,
        offset: usize,
        key: &str,
        what: impl Display,
        way_out: impl Display,
    ) -> Problem {
        let (line, column) = position(self.text, offset);
        let (what, way_out) = (what.to_string(), way_out.to_string());
        Problem {
            line,
            column,
            key: key.to_owned(),
            what,
            way_out,
        }
    }

    /// Byte offset of the value at a path such as `keys[0].secret`.
    fn locate(&self, key: &str) -> usize {
        let mut table = self.root;
        let mut offset = 0;
        for step in key.split('.') {
            let (name, index) = step.split_once('[').map_or((step, None), |(name, index)| {
                (name, index.trim_end_matches(']').parse::<usize>().ok())
            });
            let Some(mut value) = table.get(name) else {
                return offset;
            };
            if let Some(index) = index {
                let element = value
                    .get_ref()
                    .as_array()
                    .and_then(|array| array.get(index));
                let Some(element) = element else {
                    return offset;
                };
                value = element;
            }
            offset = value.span().start;
            let Some(inner) = value.get_ref().as_table() else {
                return offset;
            };
            table = inner;
        }
        offset
    }
}
