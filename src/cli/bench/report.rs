//! What a measurement found, as a table or as one JSON object.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::recorder::Latencies;
use super::rounds::Series;
use crate::cli::exit::Failure;
use crate::cli::output;

/// The percentiles that are shown.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// As many figures fit beside their name into a hundred columns.
const ROUNDS_OF_A_LINE: usize = 5;

/// All figures of one run.
#[derive(Default)]
pub(super) struct Report {
    /// What was done, as a headline.
    pub(super) title: String,
    /// What `costs` counts: "delivery", "visit".
    pub(super) unit: &'static str,
    /// Microseconds of server CPU a unit.
    pub(super) costs: Vec<(&'static str, Series)>,
    /// A name, and which two of `costs` it divides.
    pub(super) ratios: Vec<(&'static str, usize, usize)>,
    /// Where the CPU time is from.
    pub(super) cpu_source: Option<&'static str>,
    /// How long things took.
    pub(super) latencies: Vec<(&'static str, Latencies)>,
    /// A name, and which two of `latencies` it divides.
    pub(super) latency_ratios: Vec<(&'static str, usize, usize)>,
    /// Exact numbers.
    pub(super) counts: Vec<(String, u64)>,
    /// What is neither.
    pub(super) figures: Vec<(&'static str, f64, &'static str)>,
    /// What a reader must know to judge them.
    pub(super) notes: Vec<String>,
    /// One figure of every round: its name, its unit.
    pub(super) series: Vec<(&'static str, &'static str, Series)>,
}

impl Report {
    pub(super) fn count(&mut self, name: impl Into<String>, count: u64) {
        self.counts.push((name.into(), count));
    }

    /// Prints it.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            return output::line(self.json().to_string());
        }
        output::line(self.table().trim_end())
    }

    fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        if !self.costs.is_empty() {
            let unit = format!("server CPU, us a {}", self.unit);
            let _ = writeln!(
                text,
                "\n{unit:<34}{:>10}{:>10}{:>9}",
                "median", "min", "spread"
            );
        }
        for (name, series) in &self.costs {
            let (median, minimum) = (series.median(), series.minimum());
            let spread = 100.0 * series.spread();
            let _ = writeln!(
                text,
                "  {name:<32}{median:>10.3}{minimum:>10.3}{spread:>7.0} %"
            );
        }
        for (name, by_median, by_minimum) in self.divided() {
            let _ = writeln!(text, "  {name:<32}{by_median:>9.3}x{by_minimum:>9.3}x");
        }
        if let Some(source) = self.cpu_source.filter(|_| !self.costs.is_empty()) {
            let _ = writeln!(text, "  {}", cpu_words(source));
        }
        if !self.latencies.is_empty() {
            let _ = write!(text, "\n{:<34}", "latency, ms");
            for (name, _) in PERCENTILES {
                let _ = write!(text, "{name:>10}");
            }
            text.push('\n');
        }
        for (name, latencies) in &self.latencies {
            let _ = write!(text, "  {name:<32}");
            for (_, quantile) in PERCENTILES {
                let _ = write!(text, "{:>10.3}", ms(latencies, quantile));
            }
            text.push('\n');
        }
        for (name, above, below) in &self.latency_ratios {
            let _ = write!(text, "  {name:<32}");
            for (_, quantile) in PERCENTILES {
                let _ = write!(text, "{:>9.2}x", self.times(*above, *below, quantile));
            }
            text.push('\n');
        }
        text.push('\n');
        for (name, figure, unit) in &self.figures {
            let digits = digits(unit);
            let _ = writeln!(text, "  {name:<32}{figure:>12.digits$} {unit}");
        }
        for (name, unit, series) in &self.series {
            rounds(&mut text, &format!("{name}, {unit}"), series);
        }
        for (name, count) in &self.counts {
            let _ = writeln!(text, "  {name:<32}{count:>12}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n  note: {note}");
        }
        text
    }

    fn json(&self) -> Value {
        let costs = self.costs.iter().map(|(name, series)| {
            json!({"name": name, "median_us": series.median(), "min_us": series.minimum(),
                   "max_us": series.maximum(), "spread": series.spread()})
        });
        let ratios = self.divided().map(|(name, by_median, by_minimum)| {
            json!({"name": name, "by_median": by_median, "by_minimum": by_minimum})
        });
        let latencies = self.latencies.iter().map(|(name, latencies)| {
            let mut of: Map<String, Value> = PERCENTILES
                .iter()
                .map(|(name, quantile)| (format!("{name}_ms"), ms(latencies, *quantile).into()))
                .collect();
            of.insert("name".to_owned(), (*name).into());
            of.insert("count".to_owned(), latencies.len().into());
            Value::Object(of)
        });
        let latency_ratios = self.latency_ratios.iter().map(|(name, above, below)| {
            let mut of: Map<String, Value> = PERCENTILES
                .iter()
                .map(|(name, quantile)| {
                    let times = self.times(*above, *below, *quantile);
                    ((*name).to_owned(), times.into())
                })
                .collect();
            of.insert("name".to_owned(), (*name).into());
            Value::Object(of)
        });
        let figures = self.figures.iter();
        let figures = figures
            .map(|(name, figure, unit)| json!({"name": name, "value": figure, "unit": unit}));
        let series = self.series.iter();
        let series = series.map(
            |(name, unit, series)| json!({"name": name, "unit": unit, "values": series.values()}),
        );
        let counts: Map<String, Value> = self
            .counts
            .iter()
            .map(|(name, count)| {
                (
                    name.replace(": ", "_")
                        .replace(", ", "_")
                        .replace([' ', '-'], "_")
                        .to_lowercase(),
                    (*count).into(),
                )
            })
            .collect();
        json!({
            "title": self.title,
            "unit": self.unit,
            "server_cpu": costs.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
            "cpu_source": self.cpu_source,
            "latencies": latencies.collect::<Vec<_>>(),
            "latency_ratios": latency_ratios.collect::<Vec<_>>(),
            "notes": self.notes,
            "figures": figures.collect::<Vec<_>>(),
            "rounds": series.collect::<Vec<_>>(),
            "counts": counts,
        })
    }

    fn times(&self, above: usize, below: usize, quantile: f64) -> f64 {
        let of = |index: usize| self.latencies[index].1.value_at_quantile(quantile) as f64;
        of(above) / of(below)
    }

    fn divided(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        self.ratios.iter().map(|(name, above, below)| {
            let (above, below) = (&self.costs[*above].1, &self.costs[*below].1);
            let by_median = above.median() / below.median();
            (*name, by_median, above.minimum() / below.minimum())
        })
    }
}

fn cpu_words(source: &str) -> &'static str {
    match source {
        "schedstat" => "(in nanoseconds, from /proc/PID/task/*/schedstat)",
        _ => "(in ticks of 10 ms, from /proc/PID/stat)",
    }
}

/// Ratios and shares are small, and read beside a bound; what else there is goes by thousands.
fn digits(unit: &str) -> usize {
    match unit {
        "x" | "% of a core" | "ms" | "s" => 3,
        _ => 1,
    }
}

/// The figures of all rounds, in as many lines as they need.
fn rounds(text: &mut String, name: &str, series: &Series) {
    let mut name = name;
    for some in series.values().chunks(ROUNDS_OF_A_LINE) {
        let _ = write!(text, "  {name:<32}");
        for figure in some {
            let _ = write!(text, "{figure:>12.3}");
        }
        text.push('\n');
        name = "";
    }
}

fn ms(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::recorder::Recorder;

    fn report() -> Report {
        let series = |figures: [f64; 2]| {
            let mut series = Series::default();
            for figure in figures {
                series.push(figure);
            }
            series
        };
        let mut recorder = Recorder::default();
        recorder.messages.saturating_record(2_000_000);
        let mut report = Report {
            title: "a run".to_owned(),
            unit: "delivery",
            costs: vec![
                ("loop", series([4.0, 6.0])),
                ("gateway", series([5.0, 10.0])),
            ],
            ratios: vec![("gateway / loop", 1, 0)],
            latencies: vec![("message", recorder.messages)],
            ..Report::default()
        };
        report.count("missed", 0);
        report
    }

    #[test]
    fn nothing_missed_is_said_too() {
        let table = report().table();
        let line = table.lines().find(|line| line.contains("missed")).unwrap();
        assert!(line.ends_with(" 0"), "{line}");
    }

    #[test]
    fn the_figures_of_many_rounds_stay_within_the_columns() {
        let mut report = report();
        let mut series = Series::default();
        for figure in 0..12 {
            series.push(f64::from(figure) * 1000.5);
        }
        report
            .series
            .push(("resident after a round", "KiB", series));
        let table = report.table();
        assert!(table.lines().all(|line| line.len() <= 100), "{table}");
        assert!(table.contains("11005.500"), "{table}");
        assert_eq!(report.json()["rounds"][0]["values"][11], 11005.5);
    }

    #[test]
    fn the_object_holds_the_figures_of_the_table() {
        let value = report().json();
        assert_eq!(value["ratios"][0]["by_median"], 1.5);
        assert_eq!(value["ratios"][0]["by_minimum"], 1.25);
        assert_eq!(value["counts"]["missed"], 0);
        let p50 = value["latencies"][0]["p50_ms"].as_f64().unwrap();
        assert!((p50 - 2.0).abs() < 0.01, "{p50}");
        let table = report().table();
        assert!(
            table.contains("1.500x") && table.contains("1.250x"),
            "{table}"
        );
    }
}
