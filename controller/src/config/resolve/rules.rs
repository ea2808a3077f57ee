//! Rules about one value, shared by the kinds of entries.

use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam, ResourceNotFound};
use crate::config::code::camel_case;
use crate::config::decode::{At, Field, Head, Report, nearest};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_saphyr::Location;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The address ranges that count as private (SG-41), and all that a remote server may have (SG-52).
pub(super) const PRIVATE_RANGES: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// [`PRIVATE_RANGES`] for messages.
pub(super) const PRIVATE_RANGES_TEXT: &str = "10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 or 192.168.0.0/16";

/// Global unicast (RFC 4291) and unique local addresses (RFC 4193).
const HOST_RANGES_V6: [Ipv6Net; 2] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
];

/// Whether `address` lies in one of [`PRIVATE_RANGES`].
pub(super) fn is_private(address: Ipv4Addr) -> bool {
    PRIVATE_RANGES.iter().any(|range| range.contains(&address))
}

/// Whether two CIDRs share an address.
pub(super) fn overlap(a: impl Into<IpNet>, b: impl Into<IpNet>) -> bool {
    let (a, b) = (a.into(), b.into());
    a.contains(&b) || b.contains(&a)
}

/// Whether `name` is a host name (RFC 1123): labels of 1 to 63 letters, digits and inner hyphens, 253 characters in all.
pub(super) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// `"a", "b"`, or `none` in words.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with("ch") => format!("{noun}es"),
        None => format!("{noun}s"),
    }
}

impl Report<'_> {
    /// The setting; reported where it is absent.
    pub(super) fn required<'e, T>(
        &mut self,
        head: &Head,
        key: &str,
        field: &'e Field<T>,
        remedy: &str,
    ) -> Option<&'e T> {
        if matches!(field, Field::Absent) {
            self.error(
                head.code(MissingParam, key),
                head.at,
                &head.subject,
                "",
                format!("`{key}` is missing"),
                remedy,
            );
        }
        field.good()
    }

    /// A whole number within `range`; `default` where absent.
    pub(super) fn number(
        &mut self,
        head: &Head,
        key: &str,
        field: &Field<At<i128>>,
        range: RangeInclusive<i128>,
        default: i128,
    ) -> Option<i128> {
        match field {
            Field::Absent => Some(default),
            Field::Bad => None,
            Field::Good(number) => self.in_range(head, key, number, range),
        }
    }

    /// `number` if it is within `range`.
    pub(super) fn in_range(
        &mut self,
        head: &Head,
        key: &str,
        number: &At<i128>,
        range: RangeInclusive<i128>,
    ) -> Option<i128> {
        if range.contains(&number.value) {
            return Some(number.value);
        }
        let (low, high) = (range.start(), range.end());
        self.error(
            head.code(IllegalParam, key),
            number.at,
            &head.subject,
            format!("{key} {}", number.value),
            format!("outside {low} to {high}"),
            format!("write a number from {low} to {high}"),
        );
        None
    }

    /// Seconds within `range`.
    pub(super) fn seconds(
        &mut self,
        head: &Head,
        key: &str,
        field: &Field<At<i128>>,
        range: RangeInclusive<i128>,
        default: i128,
    ) -> Option<Duration> {
        let seconds = self.number(head, key, field, range, default)?;
        Some(Duration::from_secs(u64::try_from(seconds).expect("ranges of seconds are positive")))
    }

    /// A port that must be written.
    pub(super) fn port(&mut self, head: &Head, field: &Field<At<i128>>) -> Option<NonZeroU16> {
        let number = self.required(head, "port", field, "write a port from 1 to 65535")?;
        let port = self.in_range(head, "port", number, 1..=65535)?;
        u16::try_from(port).ok().and_then(NonZeroU16::new)
    }

    /// One of `choices`. `refused` are words that mean something, but nothing that this program does; each with why.
    pub(super) fn choice<T: Copy>(
        &mut self,
        head: &Head,
        key: &str,
        text: &At<String>,
        choices: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        let word = text.value.as_str();
        // Protocols are names of others, and SG-20 has the API itself spell one in two ways.
        let is_meant = |name: &str| {
            if key == "protocol" { name.eq_ignore_ascii_case(word) } else { name == word }
        };
        if let Some((_, value)) = choices.iter().find(|(name, _)| is_meant(name)) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let (rule, remedy) = match refused.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            Some((_, why)) => ((*why).to_owned(), format!("write {}", names.join(" or "))),
            None => (
                format!("not one of {}", names.join(", ")),
                match nearest(word, &names) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("write {}", names.join(" or ")),
                },
            ),
        };
        self.error(
            head.code(IllegalParam, key),
            text.at,
            &head.subject,
            format!("{key} {word}"),
            rule,
            remedy,
        );
        None
    }

    /// One of `choices`, `default` where absent; see [`Report::choice`].
    pub(super) fn choice_or<T: Copy>(
        &mut self,
        head: &Head,
        key: &str,
        field: &Field<At<String>>,
        default: T,
        choices: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        match field {
            Field::Absent => Some(default),
            Field::Bad => None,
            Field::Good(text) => self.choice(head, key, text, choices, refused),
        }
    }

    /// A CIDR without host bits.
    pub(super) fn cidr(&mut self, head: &Head, key: &str, cidr: &At<Ipv4Net>) -> Option<Ipv4Net> {
        let as_any = At { value: IpNet::V4(cidr.value), at: cidr.at };
        self.any_cidr(head, key, &as_any).map(|_| cidr.value.trunc())
    }

    /// A CIDR of either family without host bits.
    pub(super) fn any_cidr(&mut self, head: &Head, key: &str, cidr: &At<IpNet>) -> Option<IpNet> {
        let network = cidr.value.trunc();
        if network != cidr.value {
            let own_address = IpNet::from(cidr.value.addr());
            self.error(
                head.code(IllegalParam, key),
                cidr.at,
                &head.subject,
                format!("{key} {}", cidr.value),
                "the address has bits set beyond the prefix length",
                format!("write {network}, or {own_address} for the one address"),
            );
            return None;
        }
        Some(network)
    }

    /// An IPv6 CIDR of addresses that hosts can have.
    pub(super) fn ipv6_cidr(&mut self, head: &Head, key: &str, cidr: &At<Ipv6Net>) -> Option<Ipv6Net> {
        let as_any = At { value: IpNet::V6(cidr.value), at: cidr.at };
        self.any_cidr(head, key, &as_any)?;
        if HOST_RANGES_V6.iter().any(|range| range.contains(&cidr.value)) {
            return Some(cidr.value);
        }
        self.error(
            head.code(IllegalParam, key),
            cidr.at,
            &head.subject,
            format!("{key} {}", cidr.value),
            "not a range of addresses of hosts",
            "use a CIDR inside 2000::/3 or fc00::/7",
        );
        None
    }

    /// A CIDR inside the private ranges.
    pub(super) fn private_cidr(&mut self, head: &Head, key: &str, cidr: &At<Ipv4Net>) -> Option<Ipv4Net> {
        let network = self.cidr(head, key, cidr)?;
        if PRIVATE_RANGES.iter().any(|range| range.contains(&network)) {
            return Some(network);
        }
        self.error(
            head.code(IllegalParam, key),
            cidr.at,
            &head.subject,
            format!("{key} {network}"),
            "not a private range",
            format!("use a CIDR inside {PRIVATE_RANGES_TEXT}"),
        );
        None
    }

    /// A name of a resource (SG-4; the same rule for every kind): 2 to 128 characters, the first a letter, a digit or
    /// an ideograph, the rest also `.`, `_`, `-` and space.
    pub(super) fn name(&mut self, head: &Head, field: &Field<At<String>>) -> Option<String> {
        let text = self.required(head, "name", field, "give it a name: `name: ...`")?;
        let name = &text.value;
        let length = name.chars().count();
        let begins_well = name.starts_with(char::is_alphanumeric);
        let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ');
        if (2..=128).contains(&length) && begins_well && name.chars().all(is_fine) {
            return Some(name.clone());
        }
        self.error(head.code(IllegalParam, "name"), 
            text.at,
            &head.subject,
            format!("name {name:?}"),
            "a name has 2 to 128 characters: letters, digits, `.`, `_`, `-` and space, the first a letter or digit",
            "choose another name",
        );
        None
    }

    /// Whether the flag is set; `default` where absent, `None` where it was reported as wrong.
    pub(super) fn flag(&self, field: &Field<At<bool>>, default: bool) -> Option<bool> {
        match field {
            Field::Absent => Some(default),
            Field::Bad => None,
            Field::Good(flag) => Some(flag.value),
        }
    }

    /// Text of 1 to `max` characters; the outer `None` is an error, the inner one absence.
    pub(super) fn opaque(
        &mut self,
        head: &Head,
        key: &str,
        field: &Field<At<String>>,
        max: usize,
    ) -> Option<Option<String>> {
        match field {
            Field::Absent => Some(None),
            Field::Bad => None,
            Field::Good(text) if (1..=max).contains(&text.value.chars().count()) => {
                Some(Some(text.value.clone()))
            }
            Field::Good(text) => {
                self.error(
                    head.code(IllegalParam, key),
                    text.at,
                    &head.subject,
                    format!("{key} of {} characters", text.value.chars().count()),
                    format!("1 to {max} characters"),
                    "shorten it, or leave it out",
                );
                None
            }
        }
    }

    /// A label such as a region or a zone: 1 to 64 characters without spaces.
    pub(super) fn label(&mut self, head: &Head, key: &str, field: &Field<At<String>>) -> Option<String> {
        let text = self.required(head, key, field, &format!("write `{key}: ...`"))?;
        let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&text.value.chars().count()) && text.value.chars().all(is_fine) {
            return Some(text.value.clone());
        }
        self.error(
            head.code(IllegalParam, key),
            text.at,
            &head.subject,
            format!("{key} {:?}", text.value),
            format!("a {key} has 1 to 64 characters: letters, digits, `.`, `_` and `-`"),
            "choose another",
        );
        None
    }

    /// The name of something declared; otherwise says what is.
    pub(super) fn reference(
        &mut self,
        head: &Head,
        noun: &str,
        text: &At<String>,
        declared: &BTreeMap<String, Location>,
    ) -> Option<String> {
        if declared.contains_key(&text.value) {
            return Some(text.value.clone());
        }
        let names: Vec<&str> = declared.keys().map(String::as_str).collect();
        let hint = nearest(&text.value, &names).map(|near| format!("did you mean \"{near}\"? "));
        self.error(
            ResourceNotFound.of(camel_case(noun)),
            text.at,
            &head.subject,
            format!("{noun} \"{}\"", text.value),
            format!("no {noun} of that name is defined"),
            format!("{}defined {}: {}", hint.unwrap_or_default(), plural(noun), list(names)),
        );
        None
    }

    /// Names of a kind with where each was first written; repeated ones are reported.
    pub(super) fn distinct<'e>(
        &mut self,
        (noun, key): (&str, &str),
        names: impl Iterator<Item = (&'e Head, &'e Field<At<String>>)>,
    ) -> BTreeMap<String, Location> {
        let mut declared: BTreeMap<String, Location> = BTreeMap::new();
        for (head, field) in names {
            let Some(text) = field.good() else { continue };
            match declared.get(&text.value) {
                None => {
                    declared.insert(text.value.clone(), text.at);
                }
                Some(first) => self.error(
                    head.code(DuplicatedParam, key),
                    text.at,
                    &head.subject,
                    format!("{key} \"{}\"", text.value),
                    format!("another {noun} on line {} has this {key}", first.line()),
                    "rename or remove one of them",
                ),
            }
        }
        declared
    }
}
