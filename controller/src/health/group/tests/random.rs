//! Random histories of a group, with rules that hold after each step.

use super::*;

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

/// Random changes, results, counts and times; the rules hold after each.
fn walk(seed: u64) {
    let mut random = Random(seed * 2 + 1);
    let mut group = config(&[(1, 100), (2, 1)]);
    let mut now = at(1);
    let mut health = GroupHealth::new(&group, &BTreeSet::new(), now).0;
    for step in 0..400 {
        let before: Vec<Standing> = health.standings().collect();
        let notices = match random.below(12) {
            0 => {
                let last = random.below(6) as u8;
                match group.servers.iter().position(|server| server.address == address(last)) {
                    Some(place) => drop(group.servers.remove(place)),
                    None => {
                        group.servers.push(config(&[(last, random.below(3) as u32 * 50)]).servers.remove(0))
                    }
                }
                health.update(&group, &BTreeSet::new(), now)
            }
            1 => {
                for server in &mut group.servers {
                    server.weight = weight(random.below(4) as u32 * 30);
                }
                health.update(&group, &BTreeSet::new(), now)
            }
            2 => {
                group.health_check = (random.below(3) > 0).then(check);
                group.slow_start = (random.below(4) > 0).then_some(SlowStart { duration: RAMP });
                let timeout = Duration::from_secs(random.below(3) * 8);
                group.connection_drain = (random.below(4) > 0).then_some(ConnectionDrain { timeout });
                health.update(&group, &BTreeSet::new(), now)
            }
            3 => {
                let known = before.len() as u64 + 1;
                let id =
                    before.get(random.below(known) as usize).map_or(MemberId(9999), |standing| standing.id);
                health.counted(id, |_| 0, now, now)
            }
            4..8 => {
                let mut notices = Vec::new();
                let failed = random.below(2) == 0;
                let server = address(random.below(6) as u8);
                for _ in 0..=random.below(3) {
                    let outcome = if failed { Outcome::Failed(failure()) } else { Outcome::Passed };
                    notices.extend(health.probed(server, outcome, now));
                }
                notices
            }
            8 => health.next_deadline(now).map_or_else(Vec::new, |next| {
                now = next;
                health.tick(now)
            }),
            _ => {
                now = now + Duration::from_millis(random.below(4000));
                health.tick(now)
            }
        };
        let after: Vec<Standing> = health.standings().collect();
        let context =
            || format!("seed {seed} step {step}\nbefore {before:#?}\nafter {after:#?}\nnotices {notices:#?}");
        assert_rules(&health, &group, &before, &after, &notices, now, &context);
    }
}

fn assert_rules(
    health: &GroupHealth,
    group: &ServerGroup,
    before: &[Standing],
    after: &[Standing],
    notices: &[GroupNotice],
    now: Moment,
    context: &dyn Fn() -> String,
) {
    let members: Vec<&Standing> =
        after.iter().filter(|standing| standing.status != Status::Removing).collect();
    let usable = |standing: &Standing| matches!(standing.status, Status::Normal | Status::Unavailable);
    assert!(members.iter().map(|s| s.address).eq(group.servers.iter().map(|s| s.address)), "{}", context());
    assert!(members.iter().map(|s| s.weight).eq(group.servers.iter().map(|s| s.weight)), "{}", context());
    let has_weight = members.iter().any(|standing| standing.weight > Weight::ZERO);
    let any_usable = members.iter().any(|standing| usable(standing));
    assert_eq!(health.is_fail_open(), has_weight && !any_usable, "{}", context());
    for standing in after {
        let wanted = standing.status != Status::Removing
            && standing.weight > Weight::ZERO
            && (usable(standing) || health.is_fail_open());
        assert_eq!(standing.receives_new, wanted, "{}", context());
        assert_eq!(
            standing.status == Status::Unused,
            standing.weight == Weight::ZERO && standing.status != Status::Removing,
            "{}",
            context()
        );
        assert_eq!(standing.failure.is_some(), standing.status == Status::Unhealthy, "{}", context());
        assert!(
            standing.drains.iter().all(|drain| drain.deadline > now && drain.began <= now),
            "{}",
            context()
        );
        if standing.status == Status::Removing {
            assert!(!standing.drains.is_empty(), "{}", context());
        }
        if health.is_fail_open() && standing.receives_new {
            assert!(
                standing.drains.iter().all(|drain| drain.cause != DrainCause::Unhealthy),
                "{}",
                context()
            );
        }
        if let Some(ramp) = standing.ramp {
            assert!(
                usable(standing) && standing.weight > Weight::ZERO && group.slow_start.is_some(),
                "{}",
                context()
            );
            assert!(now.since(ramp.start) < RAMP, "{}", context());
            let began = notices.iter().any(|notice| matches!(notice, GroupNotice::Server { id, notice: Notice::RampBegan, .. } if *id == standing.id));
            let carried = before.iter().any(|other| {
                // A ramp that ends now makes its server a normal one.
                let ramps = other.ramp.is_some_and(|ramp| now.since(ramp.start) < ramp.duration)
                    && group.slow_start.is_some();
                other.id != standing.id && usable(other) && other.weight > Weight::ZERO && !ramps
            });
            assert!(!began || carried, "{}", context());
        }
        if standing.receives_new {
            assert!(standing.table_weight(now) > 0, "{}", context());
        }
    }
    assert!(health.next_deadline(now).is_none_or(|next| next > now), "{}", context());
    // A deadline is announced for every drain and ramp.
    let waits = after.iter().any(|standing| standing.ramp.is_some() || !standing.drains.is_empty());
    assert_eq!(health.next_deadline(now).is_some(), waits, "{}", context());
}

// Holds SG-92, SG-93, SG-136, SG-161, SG-201
#[test]
fn keeps_its_rules_through_random_events() {
    for seed in 0..200 {
        walk(seed);
    }
}
