//! What rounds in rotation say: medians, minima, and how much the loop itself varies.

/// One figure, measured once a round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a round's figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The rounds' figures, in their order.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle one; NaN of no rounds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    /// The lowest; infinite of no rounds.
    pub fn minimum(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The highest.
    pub fn maximum(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// How far apart the rounds are: (highest - lowest) / median.
    pub fn spread(&self) -> f64 {
        (self.maximum() - self.minimum()) / self.median()
    }
}

/// The order of `kinds` kinds in a round, so that none is always the first.
pub fn rotation(round: usize, kinds: usize) -> impl Iterator<Item = usize> {
    (0..kinds).map(move |place| (place + round) % kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_rounds_are_what_their_names_say() {
        let mut series = Series::default();
        assert!(series.median().is_nan());
        for figure in [4.0, 1.0, 3.0] {
            series.push(figure);
        }
        assert_eq!(series.median(), 3.0);
        series.push(2.0);
        assert_eq!((series.median(), series.minimum()), (2.5, 1.0));
        assert_eq!(series.spread(), 3.0 / 2.5);
    }

    #[test]
    fn every_kind_has_every_place_in_turn() {
        let orders: Vec<Vec<usize>> = (0..3).map(|round| rotation(round, 3).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }
}
