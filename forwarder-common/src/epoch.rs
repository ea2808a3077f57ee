//! Which of an element's two copies is live.
//!
//! [`crate::settings::CONTROL_EPOCH`] holds the epoch, one aligned u32 in a memory-mapped array. A program reads it
//! once per packet, so a packet sees the whole of one configuration.

/// Copies per element.
pub const COPIES: u32 = 2;

/// Where element `index` of the configuration `epoch` stands in its array.
#[inline(always)]
pub const fn position(index: u32, epoch: u32) -> u32 {
    index.wrapping_mul(COPIES) + (epoch & 1)
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn neighbouring_epochs_never_share_a_position() {
        for index in 0..1000 {
            assert_ne!(position(index, 7), position(index, 8));
            assert_eq!(position(index, 7), position(index, 9));
            assert_eq!(position(index, 0) / 2, index);
        }
    }
}
