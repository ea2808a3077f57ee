//! Which of several groups a request goes to, by weight (LR-94).

/// Smooth weighted round robin: over each cycle as many requests to each group as its weight says, spread out.
#[derive(Clone, Debug)]
pub struct GroupChoice {
    weights: Vec<i64>,
    current: Vec<i64>,
    total: i64,
}

impl GroupChoice {
    /// Among as many groups as there are weights.
    pub fn new(weights: &[u32]) -> GroupChoice {
        let weights: Vec<i64> = weights.iter().map(|weight| i64::from(*weight)).collect();
        GroupChoice { current: vec![0; weights.len()], total: weights.iter().sum(), weights }
    }

    /// Position of the next request's group; `None` if no group has a weight.
    pub fn pick(&mut self) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let mut best = 0;
        for (place, weight) in self.current.iter_mut().zip(&self.weights) {
            *place += weight;
        }
        for position in 1..self.current.len() {
            if self.current[position] > self.current[best] {
                best = position;
            }
        }
        self.current[best] -= self.total;
        Some(best)
    }

    /// Whether it shares by these weights, so that it may go on.
    pub fn has(&self, weights: &[u32]) -> bool {
        self.weights.len() == weights.len()
            && self.weights.iter().zip(weights).all(|(own, weight)| *own == i64::from(*weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<Option<usize>> {
        let mut choice = GroupChoice::new(weights);
        (0..count).map(|_| choice.pick()).collect()
    }

    // Holds LR-94
    #[test]
    fn shares_are_exact_over_a_cycle_and_spread_within_it() {
        assert_eq!(picks(&[5, 1, 1], 7).into_iter().flatten().collect::<Vec<_>>(), [0, 0, 1, 0, 2, 0, 0],);
        for weights in [&[80, 20][..], &[1, 2, 3, 4, 5], &[0, 7, 0], &[10_000, 1]] {
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0; weights.len()];
            picks(weights, 2 * total as usize).into_iter().flatten().for_each(|pick| counts[pick] += 1);
            let expected: Vec<u32> = weights.iter().map(|weight| 2 * weight).collect();
            assert_eq!(counts, expected);
        }
    }

    // Holds LR-94
    #[test]
    fn nothing_is_chosen_without_weight() {
        assert_eq!(picks(&[0, 0], 2), [None, None]);
        assert_eq!(picks(&[], 1), [None]);
        assert_eq!(picks(&[0], 1), [None]);
    }

    #[test]
    fn goes_on_only_with_the_same_weights() {
        let choice = GroupChoice::new(&[1, 2]);
        assert!(choice.has(&[1, 2]));
        for other in [&[2, 1][..], &[1], &[1, 2, 3], &[1, 3]] {
            assert!(!choice.has(other));
        }
    }
}
