//! What the profiles that are built here have in common: strings, functions and locations by
//! number, as `go tool pprof` reads them (profile.proto).

use std::collections::HashMap;

use pprof::protos::{Function, Line, Location, Mapping, Profile, Sample, ValueType};

use crate::clock::Clock;

/// One line of the source at an address: the function, its file (empty: none), the line.
pub(super) type At<'a> = (&'a str, &'a str, u32);

/// A profile that is being built.
#[derive(Default)]
pub(super) struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
}

impl Builder {
    /// Samples with these values (type and unit), of which `default` is shown first.
    pub(super) fn new(values: &[(&str, &str)], default: &str) -> Self {
        let mut builder = Self::default();
        // string_table[0] must be empty, and 0 elsewhere means "none".
        builder.string("");
        builder.profile.sample_type = values.iter().map(|value| builder.value(*value)).collect();
        builder.profile.default_sample_type = builder.string(default);
        let now_ms = i64::try_from(Clock::system().now_ms()).unwrap_or(i64::MAX);
        builder.profile.time_nanos = now_ms.saturating_mul(1_000_000);
        // Says that names are final, so that pprof does not look for a binary to symbolize with.
        builder.profile.mapping = vec![Mapping {
            id: 1,
            filename: builder.string("pushgate"),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
            ..Mapping::default()
        }];
        builder
    }

    /// What one sample stands for: so many of this.
    pub(super) fn period(&mut self, of: (&str, &str), period: i64) {
        self.profile.period_type = Some(self.value(of));
        self.profile.period = period;
    }

    /// The number of a string; each is in the table once.
    pub(super) fn string(&mut self, text: &str) -> i64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let table = &mut self.profile.string_table;
        let index = i64::try_from(table.len()).expect("a string table fits memory");
        table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    /// Adds a place in the program (address 0: none), with what stands there: the innermost of
    /// inlined functions first. Returns its number.
    pub(super) fn location(&mut self, address: u64, at: &[At<'_>]) -> u64 {
        let lines = at.iter().map(|(name, file, line)| Line {
            function_id: self.function(name, file),
            line: i64::from(*line),
        });
        let line = lines.collect();
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location {
            id,
            mapping_id: 1,
            address,
            line,
            ..Location::default()
        });
        id
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.profile.sample.push(sample);
    }

    pub(super) fn finish(self) -> Profile {
        self.profile
    }

    fn value(&mut self, (ty, unit): (&str, &str)) -> ValueType {
        ValueType {
            ty: self.string(ty),
            unit: self.string(unit),
        }
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        if let Some(id) = self.functions.get(&(name, filename)) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        self.profile.function.push(Function {
            id,
            // Without a system_name: pprof would shorten a name that is the same, to "::poll" where
            // it begins with a type.
            name,
            filename,
            ..Function::default()
        });
        self.functions.insert((name, filename), id);
        id
    }
}
