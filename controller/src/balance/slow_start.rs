//! Slow start: a server's weight as a function of how long it has been healthy (SG-130 to SG-133).
//!
//! The L7 engine evaluates [`fraction_at`] whenever it picks a server. An L4 table moves flows at every change, so L4
//! climbs in [`STEPS`] steps: [`step_at`], and [`next_step_after`] for when to build the next table. Absent here: who
//! enters slow start, which [`crate::health`] decides.

use crate::model::Weight;
use std::time::Duration;

/// A fraction or a weight in units of 1 / [`ONE`].
pub type Fixed = u32;

/// 1.0 as [`Fixed`]. A weight of 100 is `100 * ONE`.
pub const ONE: Fixed = 1000;

/// Least fraction (SG-133): at 0 a server would get no traffic and learn nothing, however long the ramp.
pub const FLOOR: Fixed = ONE / 10;

/// Steps an L4 ramp is quantised to; the table changes [`STEPS`] - 1 times before the last, and once at the end.
pub const STEPS: u32 = 8;

/// Fraction of its weight a server has `age` after its slow start of length `duration` began: linear, not below
/// [`FLOOR`], [`ONE`] from `duration` on.
pub fn fraction_at(age: Duration, duration: Duration) -> Fixed {
    if age >= duration {
        return ONE;
    }
    let fraction = age.as_nanos() * u128::from(ONE) / duration.as_nanos();
    (fraction as Fixed).max(FLOOR)
}

/// What an L4 table uses: [`fraction_at`] the middle of the step that `age` lies in. With the fraction of its beginning,
/// the server would get less than its share all along, by up to 4.5 points of a group of two within five seconds.
pub fn step_at(age: Duration, duration: Duration) -> Fixed {
    if age >= duration {
        return ONE;
    }
    let step = step_number(age, duration);
    ((2 * step + 1) * ONE / (2 * STEPS)).max(FLOOR)
}

/// Age at which [`step_at`] next changes; `None` once the ramp is over.
pub fn next_step_after(age: Duration, duration: Duration) -> Option<Duration> {
    if age >= duration {
        return None;
    }
    let next = u128::from(step_number(age, duration)) + 1;
    // Rounded up, so that the step has begun at the age returned.
    let nanoseconds = (duration.as_nanos() * next).div_ceil(u128::from(STEPS));
    Some(Duration::from_nanos_u128(nanoseconds))
}

/// `weight` × `fraction`, in units of 1 / [`ONE`]; at least one unit for a weight above 0.
pub fn effective_weight(weight: Weight, fraction: Fixed) -> Fixed {
    let full = weight.get();
    // Exact: a weight is whole, so weight × fraction is a whole number of units.
    full * fraction.clamp(1, ONE)
}

/// Number of the step that `age` lies in, 0 to [`STEPS`] - 1; `age` is below `duration`.
fn step_number(age: Duration, duration: Duration) -> u32 {
    (age.as_nanos() * u128::from(STEPS) / duration.as_nanos()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: Duration = Duration::from_secs(30);

    // Holds SG-133
    #[test]
    fn grows_linearly_from_the_floor_to_one() {
        let at = |seconds| fraction_at(Duration::from_secs(seconds), RAMP);
        assert_eq!(
            [0, 2, 3, 6, 15, 24, 29, 30, 900].map(at),
            [100, 100, 100, 200, 500, 800, 966, 1000, 1000]
        );
    }

    // Holds SG-133
    #[test]
    fn climbs_in_eight_steps_at_layer_4() {
        let mut age = Duration::ZERO;
        let mut fractions = vec![step_at(age, RAMP)];
        while let Some(next) = next_step_after(age, RAMP) {
            assert_eq!(step_at(next - Duration::from_nanos(1), RAMP), step_at(age, RAMP));
            age = next;
            fractions.push(step_at(age, RAMP));
        }
        assert_eq!(age, RAMP);
        assert_eq!(fractions, [100, 187, 312, 437, 562, 687, 812, 937, 1000]);
    }

    #[test]
    fn steps_have_begun_at_the_age_they_are_announced_for() {
        // A length that 8 does not divide.
        let ramp = Duration::from_nanos(30_000_000_001);
        let mut age = Duration::ZERO;
        for _ in 0..STEPS {
            let next = next_step_after(age, ramp).unwrap();
            assert!(step_at(next, ramp) > step_at(age, ramp), "no step at {next:?}");
            age = next;
        }
        assert_eq!(next_step_after(age, ramp), None);
    }

    #[test]
    fn a_slow_start_of_no_length_is_over() {
        assert_eq!(fraction_at(Duration::ZERO, Duration::ZERO), ONE);
        assert_eq!(step_at(Duration::ZERO, Duration::ZERO), ONE);
        assert_eq!(next_step_after(Duration::ZERO, Duration::ZERO), None);
    }

    // Holds SG-133
    #[test]
    fn the_smallest_weight_ramps_with_precision() {
        let one = Weight::new(1).unwrap();
        assert_eq!(
            [0, 15, 16, 30].map(|s| effective_weight(one, fraction_at(Duration::from_secs(s), RAMP))),
            [100, 500, 533, 1000]
        );
        assert_eq!(effective_weight(Weight::ZERO, ONE), 0);
    }
}
