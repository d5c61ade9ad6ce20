//! The metrics of one moment.

use std::collections::BTreeMap;

/// Every sample by its name with its labels, as `/metrics` wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// A metric without labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.sample(name)
    }

    /// The sample of `word`, of a metric with one label: `at("pushgate_tasks", "session")`.
    #[track_caller]
    pub(crate) fn at(&self, name: &str, word: &str) -> u64 {
        let labels = self.labels(name);
        let label = labels.iter().find(|(label, _)| {
            label
                .split_once('=')
                .is_some_and(|(_, value)| value.trim_matches('"') == word)
        });
        label
            .unwrap_or_else(|| panic!("{name} has no {word} among {labels:?}"))
            .1
    }

    /// Requests of this op that ended with this status.
    #[track_caller]
    pub(crate) fn requests(&self, op: &str, status: &str) -> u64 {
        self.sample(&format!(
            "pushgate_requests_total{{op=\"{op}\",status=\"{status}\"}}"
        ))
    }

    /// The samples of a metric by what stands between the braces.
    pub(crate) fn labels(&self, name: &str) -> Vec<(&str, u64)> {
        let label = |(key, value): (&'_ String, &f64)| {
            let labels = key.strip_prefix(name)?.strip_prefix('{')?;
            Some((labels.len(), whole(key, *value)))
        };
        self.0
            .iter()
            .filter_map(|(key, value)| {
                let (length, value) = label((key, value))?;
                Some((key[key.len() - length..].trim_end_matches('}'), value))
            })
            .collect()
    }

    /// All samples of a metric together.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.labels(name).iter().map(|(_, value)| value).sum()
    }

    #[track_caller]
    fn sample(&self, key: &str) -> u64 {
        let value = self.0.get(key);
        whole(key, *value.unwrap_or_else(|| panic!("no metric {key}")))
    }

    /// What of the metrics does not add up.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut equal = |what: &str, left: u64, right: u64| {
            if left != right {
                faults.push(format!("{what}: {left} != {right}"));
            }
        };
        equal(
            "connections opened = open + closed",
            self.value("pushgate_connections_opened_total"),
            self.value("pushgate_connections") + self.sum("pushgate_connections_closed_total"),
        );
        equal(
            "datagrams and HTTP requests = requests + repeats + rejected",
            self.value("pushgate_datagrams_received_total")
                + self.sum("pushgate_http_requests_total"),
            self.sum("pushgate_requests_total")
                + self.value("pushgate_repeats_total")
                + self.sum("pushgate_datagrams_rejected_total"),
        );
        equal(
            "tasks started = alive + ended",
            self.sum("pushgate_tasks_started_total"),
            self.sum("pushgate_tasks") + self.sum("pushgate_tasks_ended_total"),
        );
        equal(
            "tasks of sessions and refusals = connections",
            self.at("pushgate_tasks", "session") + self.at("pushgate_tasks", "refusal"),
            self.value("pushgate_connections"),
        );
        equal(
            "tasks that panicked = 0",
            self.sum("pushgate_tasks_panicked_total"),
            0,
        );
        faults
    }
}

#[track_caller]
fn whole(key: &str, value: f64) -> u64 {
    assert!(
        value >= 0.0 && value.fract() == 0.0,
        "{key} {value} is no count"
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and not negative"
    )]
    let whole = value as u64;
    whole
}
