//! Random numbers from a seed, so that a failure can be repeated.

/// A generator (splitmix64). Print its seed when a test fails.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From the seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The seed of this run: `SEED` from the environment, or `default`.
    pub fn seed(default: u64) -> u64 {
        std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// One of `choices`, which are not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
