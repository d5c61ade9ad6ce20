//! Families by key id: the one label whose values the configuration chooses, and bounds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, Registry};

use super::family::Declare;

/// What a value by key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// A value for each key id, as of the last [`set`](Self::set). The series of a key that is no more
/// configured ends.
#[derive(Clone, Debug)]
pub struct ByKey {
    kind: Kind,
    opts: Opts,
    desc: Desc,
    values: Arc<Mutex<Vec<(u32, f64)>>>,
}

impl ByKey {
    /// These are the values now.
    pub fn set(&self, values: impl IntoIterator<Item = (u32, f64)>) {
        let values = values.into_iter().collect();
        *self.values() = values;
    }

    fn values(&self) -> MutexGuard<'_, Vec<(u32, f64)>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LABEL: &str = "key";

impl Collector for ByKey {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    /// Made anew at each scrape, so that two at a time do not see each other's halves.
    fn collect(&self) -> Vec<MetricFamily> {
        let values = self.values();
        let rows = values.iter().map(|(id, value)| ([id.to_string()], *value));
        let opts = self.opts.clone();
        match self.kind {
            Kind::Counter => CounterVec::new(opts, &[LABEL]).map(|vec| {
                rows.for_each(|(id, value)| vec.with_label_values(&id).inc_by(value));
                vec.collect()
            }),
            Kind::Gauge => GaugeVec::new(opts, &[LABEL]).map(|vec| {
                rows.for_each(|(id, value)| vec.with_label_values(&id).set(value));
                vec.collect()
            }),
        }
        .expect("the same name was taken at its declaration")
    }
}

impl Declare for ByKey {
    type Spec = Kind;

    fn declare(registry: &Registry, name: &str, help: &str, kind: Kind) -> Self {
        let opts = Opts::new(name, help);
        let labels = vec![LABEL.to_owned()];
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())
            .expect("names and labels are well-formed");
        let by_key = Self {
            kind,
            opts,
            desc,
            values: Arc::default(),
        };
        registry
            .register(Box::new(by_key.clone()))
            .expect("each name is declared once");
        by_key
    }
}
