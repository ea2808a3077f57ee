//! Who may connect to a listener (LR-30, LR-31, LR-34).

use crate::model::AclKind;
use crate::snapshot::AclSnapshot;
use ipnet::IpNet;
use std::net::IpAddr;

/// The addresses that a listener serves. A look-up is a binary search, whatever the lists hold.
pub struct Acl {
    kind: AclKind,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges of addresses, both ends included, in order and apart from each other.
struct Ranges<T>(Vec<(T, T)>);

impl Acl {
    /// `None` where everybody is served: an empty list of either kind refuses nobody (LR-31).
    pub fn new(acl: &AclSnapshot) -> Option<Acl> {
        let v4 = acl.entries.iter().filter_map(|entry| match entry {
            IpNet::V4(net) => Some((u32::from(net.network()), u32::from(net.broadcast()))),
            IpNet::V6(_) => None,
        });
        let v6 = acl.entries.iter().filter_map(|entry| match entry {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some((u128::from(net.network()), u128::from(net.broadcast()))),
        });
        let acl_ranges = Acl { kind: acl.kind, v4: Ranges::new(v4.collect()), v6: Ranges::new(v6.collect()) };
        (!acl.entries.is_empty()).then_some(acl_ranges)
    }

    /// Whether the peer at `address` is served.
    pub fn serves(&self, address: IpAddr) -> bool {
        let is_listed = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        };
        is_listed == (self.kind == AclKind::White)
    }
}

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Ranges<T> {
        ranges.sort_unstable();
        let mut apart: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        Ranges(apart)
    }

    fn contains(&self, address: T) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        behind.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(kind: AclKind, entries: &[&str]) -> Option<Acl> {
        Acl::new(&AclSnapshot { kind, entries: entries.iter().map(|entry| entry.parse().unwrap()).collect() })
    }

    // Holds LR-30
    #[test]
    fn serves_the_listed_or_all_but_the_listed() {
        let entries = ["10.1.0.0/16", "10.1.2.0/24", "192.0.2.7/32", "2001:db8::/32", "0.0.0.0/32"];
        let (white, black) = (acl(AclKind::White, &entries).unwrap(), acl(AclKind::Black, &entries).unwrap());
        for (address, listed) in [
            ("10.1.0.0", true),
            ("10.1.2.3", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("10.0.255.255", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("255.255.255.255", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::ffff:192.0.2.7", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(white.serves(address), listed, "{address}");
            assert_eq!(black.serves(address), !listed, "{address}");
        }
    }

    // Holds LR-31
    #[test]
    fn an_empty_list_refuses_nobody() {
        assert!(acl(AclKind::White, &[]).is_none());
        assert!(acl(AclKind::Black, &[]).is_none());
    }

    #[test]
    fn a_list_of_one_family_says_of_the_other_that_it_is_not_listed() {
        assert!(!acl(AclKind::White, &["10.0.0.0/8"]).unwrap().serves("::1".parse().unwrap()));
        assert!(acl(AclKind::Black, &["::/0"]).unwrap().serves("10.0.0.1".parse().unwrap()));
    }
}
