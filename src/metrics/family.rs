//! Families over closed lists of label values, and how each type of metric is registered.

use prometheus::core::{AtomicF64, AtomicI64, AtomicU64};
use prometheus::core::{Collector, GenericCounterVec, GenericGaugeVec};
use prometheus::{Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

/// The labels of a family and every combination of their values.
#[derive(Debug)]
pub(super) struct Labels {
    pub(super) names: Vec<&'static str>,
    /// One value for each name.
    pub(super) rows: Vec<Vec<&'static str>>,
}

impl Labels {
    /// One label with these values.
    pub(super) fn one(name: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            names: vec![name],
            rows: values.into_iter().map(|value| vec![value]).collect(),
        }
    }
}

/// A counter for each combination of label values, by index.
pub type CounterFamily = Family<IntCounter>;
/// A gauge for each combination of label values, by index.
pub type GaugeFamily = Family<IntGauge>;
/// A gauge of seconds for each combination of label values, by index.
pub type SecondsFamily = Family<Gauge>;

/// A metric for each combination of label values, fetched once. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Family<M>(Vec<M>);

impl<M> Family<M> {
    /// The metric of the combination at this index.
    ///
    /// # Panics
    /// Beyond the last combination: the index is that of a closed enum.
    pub fn at(&self, index: usize) -> &M {
        &self.0[index]
    }
}

impl CounterFamily {
    /// All of them together.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(IntCounter::get).sum()
    }
}

/// A metric that can be registered.
pub(super) trait Declare: Sized {
    /// What it needs besides name and help.
    type Spec;

    fn declare(registry: &Registry, name: &str, help: &str, spec: Self::Spec) -> Self;
}

impl Declare for IntCounter {
    type Spec = ();

    fn declare(registry: &Registry, name: &str, help: &str, (): ()) -> Self {
        registered(registry, Self::new(name, help))
    }
}

impl Declare for IntGauge {
    type Spec = ();

    fn declare(registry: &Registry, name: &str, help: &str, (): ()) -> Self {
        registered(registry, Self::new(name, help))
    }
}

impl Declare for Gauge {
    type Spec = ();

    fn declare(registry: &Registry, name: &str, help: &str, (): ()) -> Self {
        registered(registry, Self::new(name, help))
    }
}

impl Declare for Counter {
    type Spec = ();

    fn declare(registry: &Registry, name: &str, help: &str, (): ()) -> Self {
        registered(registry, Self::new(name, help))
    }
}

impl Declare for Histogram {
    type Spec = &'static [f64];

    fn declare(registry: &Registry, name: &str, help: &str, buckets: &'static [f64]) -> Self {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        registered(registry, Self::with_opts(opts))
    }
}

impl Declare for CounterFamily {
    type Spec = Labels;

    fn declare(registry: &Registry, name: &str, help: &str, labels: Labels) -> Self {
        let vec = GenericCounterVec::<AtomicU64>::new(Opts::new(name, help), &labels.names);
        let vec = registered(registry, vec);
        Self(
            labels
                .rows
                .iter()
                .map(|row| vec.with_label_values(row))
                .collect(),
        )
    }
}

impl Declare for GaugeFamily {
    type Spec = Labels;

    fn declare(registry: &Registry, name: &str, help: &str, labels: Labels) -> Self {
        let vec = GenericGaugeVec::<AtomicI64>::new(Opts::new(name, help), &labels.names);
        let vec = registered(registry, vec);
        Self(
            labels
                .rows
                .iter()
                .map(|row| vec.with_label_values(row))
                .collect(),
        )
    }
}

impl Declare for SecondsFamily {
    type Spec = Labels;

    fn declare(registry: &Registry, name: &str, help: &str, labels: Labels) -> Self {
        let vec = GenericGaugeVec::<AtomicF64>::new(Opts::new(name, help), &labels.names);
        let vec = registered(registry, vec);
        Self(
            labels
                .rows
                .iter()
                .map(|row| vec.with_label_values(row))
                .collect(),
        )
    }
}

fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("names and labels are well-formed, buckets rise");
    registry
        .register(Box::new(metric.clone()))
        .expect("each name is declared once");
    metric
}
