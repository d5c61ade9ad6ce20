//! Quantiles of what a histogram has counted between two looks.

use prometheus::Histogram;
use prometheus::core::Metric;

/// How many observations a histogram has in each bucket, and the upper bounds of those.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    bounds: Vec<f64>,
    /// One more than there are bounds: the last is for what lies beyond them.
    counts: Vec<u64>,
}

impl Buckets {
    /// Those of this moment.
    pub(super) fn read(histogram: &Histogram) -> Self {
        let metric = histogram.metric();
        let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
        for bucket in metric.get_histogram().get_bucket() {
            bounds.push(bucket.upper_bound());
            counts.push(bucket.cumulative_count().saturating_sub(below));
            below = bucket.cumulative_count();
        }
        let all = metric.get_histogram().get_sample_count();
        counts.push(all.saturating_sub(below));
        Self { bounds, counts }
    }

    /// What was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let before = before.counts.iter().chain(std::iter::repeat(&0));
        let counts = self.counts.iter().zip(before);
        Self {
            bounds: self.bounds.clone(),
            counts: counts
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
        }
    }

    /// The value that a share of `q` lies below, as if those of a bucket lay evenly in it, as
    /// Prometheus has it; `None` where nothing was counted. What lies beyond the last bound counts
    /// as that.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let all: u64 = self.counts.iter().sum();
        let rank = q * all as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, upper) in self.counts.iter().zip(&self.bounds) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * (rank - below) / count);
            }
            (below, lower) = (below + count, *upper);
        }
        (all > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[track_caller]
    fn check(counts: [u64; 4], q: f64, expected: Option<f64>) {
        let buckets = Buckets {
            bounds: vec![1.0, 2.0, 4.0],
            counts: counts.to_vec(),
        };
        assert_eq!(buckets.quantile(q), expected, "{counts:?} {q}");
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        check([0, 0, 0, 0], 0.5, None);
        check([10, 0, 0, 0], 0.5, Some(0.5));
        check([0, 10, 0, 0], 0.5, Some(1.5));
        check([5, 0, 5, 0], 0.5, Some(1.0));
        check([5, 0, 5, 0], 0.99, Some(3.96));
        check([0, 0, 0, 3], 0.5, Some(4.0));
        check([1, 0, 0, 99], 0.99, Some(4.0));
    }

    #[test]
    fn what_was_counted_since_a_look_is_told_apart() {
        let opts = HistogramOpts::new("h", "h").buckets(vec![1.0, 2.0]);
        let histogram = Histogram::with_opts(opts).expect("is one");
        histogram.observe(0.5);
        let before = Buckets::read(&histogram);
        assert_eq!(before.counts, [1, 0, 0]);
        histogram.observe(1.5);
        histogram.observe(9.0);
        let now = Buckets::read(&histogram);
        assert_eq!(now.since(&before).counts, [0, 1, 1]);
        assert_eq!(now.since(&Buckets::default()).counts, [1, 1, 1]);
    }
}
