//! Paired figures and what they say. Pure.

/// Ours and theirs, measured one right after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Ours.
    pub ours: f64,
    /// Theirs.
    pub theirs: f64,
}

/// What pairs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Medians of either side alone.
    pub ours: f64,
    pub theirs: f64,
    /// Median of the pairs' ratios, ours to theirs.
    pub ratio: f64,
    /// The least and the greatest of them.
    pub ratio_min: f64,
    pub ratio_max: f64,
}

/// Sums up at least one pair.
pub fn summary(pairs: &[Pair]) -> Summary {
    let ratios = || pairs.iter().map(|pair| pair.ours / pair.theirs);
    Summary {
        ours: median(pairs.iter().map(|pair| pair.ours)),
        theirs: median(pairs.iter().map(|pair| pair.theirs)),
        ratio: median(ratios()),
        ratio_min: ratios().fold(f64::INFINITY, f64::min),
        ratio_max: ratios().fold(0.0, f64::max),
    }
}

/// The middle of `values`; of an even number, between the two in the middle. NaN of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_pair_by_pair() {
        // The machine doubled its speed after the first pair: medians of either side would say 0.5 or 2.
        let pairs = [(10.0, 10.0), (20.0, 10.0), (20.0, 20.0)].map(|(ours, theirs)| Pair { ours, theirs });
        let summary = summary(&pairs);
        assert_eq!((summary.ratio, summary.ratio_min, summary.ratio_max), (1.0, 1.0, 2.0));
        assert_eq!((summary.ours, summary.theirs), (20.0, 10.0));
    }

    #[test]
    fn the_median_of_an_even_number_lies_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    }
}
