//! From the tree to the structs of [`super::file`]: types, unknown and repeated keys. Whatever does not fit is
//! reported and left out, so that one mistake never hides another.

use super::code::{ErrorCode, ErrorFamily, camel_case};
use super::error::{Finding, Place};
use super::tree::{Tree, Value};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_saphyr::Location;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Characters shown of a line, at most, on each side of where a value begins.
const EXCERPT_CHARS: usize = 160;

/// A scalar and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Location,
}

impl From<&At<Ipv4Addr>> for At<IpAddr> {
    fn from(address: &At<Ipv4Addr>) -> Self {
        Self { value: address.value.into(), at: address.at }
    }
}

impl From<&At<Ipv6Addr>> for At<IpAddr> {
    fn from(address: &At<Ipv6Addr>) -> Self {
        Self { value: address.value.into(), at: address.at }
    }
}

/// A setting of an entry.
#[derive(Clone, Debug)]
pub(super) enum Field<T> {
    /// Not written, or null.
    Absent,
    /// Written, and reported as wrong.
    Bad,
    /// Written, and of the right type.
    Good(T),
}

impl<T> Field<T> {
    pub(super) fn good(&self) -> Option<&T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }
}

impl<T: Located> Field<T> {
    /// Where it was written, unless it was reported as wrong.
    pub(super) fn at(&self) -> Option<Location> {
        self.good().map(Located::location)
    }
}

/// What stands somewhere.
pub(super) trait Located {
    fn location(&self) -> Location;
}

impl<T> Located for At<T> {
    fn location(&self) -> Location {
        self.at
    }
}

impl<T> Field<T> {
    /// Whether it was written, rightly or wrongly.
    pub(super) fn is_written(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<T: Located> Located for Vec<T> {
    /// Of the first item; an empty list has no place that anybody remembers.
    fn location(&self) -> Location {
        self.first().map_or(Location::UNKNOWN, Located::location)
    }
}

impl<T> Field<Vec<T>> {
    /// Nothing where the list is absent or bad.
    pub(super) fn items(&self) -> &[T] {
        self.good().map_or(&[], Vec::as_slice)
    }
}

/// An entry, as messages name it, and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) subject: String,
    pub(super) at: Location,
    pub(super) names: ApiNames,
}

impl Head {
    /// The code about the setting `key`.
    pub(super) fn code(&self, family: ErrorFamily, key: &str) -> ErrorCode {
        family.of(api_name(self.names, key))
    }
}

/// How the API spells the settings of an entry, where it is not the key in camel case.
pub(super) type ApiNames = &'static [(&'static str, &'static [&'static str])];

fn api_name(names: ApiNames, key: &str) -> String {
    let own = names.iter().find(|(known, _)| *known == key).and_then(|(_, name)| name.first());
    own.map_or_else(|| camel_case(key), |name| (*name).to_owned())
}

/// Collects findings about one file.
pub(super) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str, file: &'a str) -> Self {
        Self { file, text, errors: Vec::new(), warnings: Vec::new() }
    }

    /// A location of this file with everything a message needs.
    pub(super) fn place(&self, at: Location) -> Place {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
        let (before, after) = self.text.split_at_checked(self.offset(at)).unwrap_or_default();
        // A window, not the line: a file of one endless line must not make every message endless.
        let in_line = |c: &char| *c != '\n' && *c != '\r';
        let mut line = before.chars().rev().take_while(in_line);
        let mut excerpt: Vec<char> = line.by_ref().take(EXCERPT_CHARS).collect();
        if line.next().is_some() {
            excerpt.push('…');
        }
        excerpt.reverse();
        let excerpt_column = number(excerpt.len() as u64 + 1);
        excerpt.extend(after.chars().take_while(in_line).take(EXCERPT_CHARS));
        Place {
            file: self.file.to_owned(),
            line: number(at.line()),
            column: number(at.column()),
            length: number(at.span().len()),
            excerpt: excerpt.into_iter().collect(),
            excerpt_column,
        }
    }

    /// Bytes before `at`.
    fn offset(&self, at: Location) -> usize {
        // The parser gives no byte offset with syntax errors, of which there is one at most.
        let by_line_and_column = || {
            let line = self.text.split_inclusive('\n').take(usize::try_from(at.line()).ok()?);
            let (start, line) = line.fold((0, ""), |(start, last), line| (start + last.len(), line));
            let column = usize::try_from(at.column()).ok()?.checked_sub(1)?;
            let in_line = line.char_indices().nth(column).map_or(line.trim_end().len(), |(offset, _)| offset);
            Some(start + in_line)
        };
        let given = at.span().byte_offset().and_then(|offset| usize::try_from(offset).ok());
        given.or_else(by_line_and_column).unwrap_or(0)
    }

    pub(super) fn error(
        &mut self,
        code: ErrorCode,
        at: Location,
        subject: &str,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = self.finding(at, subject, value.into(), rule.into(), remedy.into());
        self.errors.push(Finding { code: Some(code), ..finding });
    }

    pub(super) fn warning(
        &mut self,
        at: Location,
        subject: &str,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = self.finding(at, subject, value.into(), rule.into(), remedy.into());
        self.warnings.push(finding);
    }

    fn finding(&self, at: Location, subject: &str, value: String, rule: String, remedy: String) -> Finding {
        Finding { code: None, place: self.place(at), subject: subject.to_owned(), value, rule, remedy }
    }

    /// What the user wrote at `at`, cut where it gets long; nothing of lists and mappings, which only begin there.
    fn written(&self, tree: &Tree) -> String {
        if matches!(tree.value, Value::Sequence(_) | Value::Mapping(_)) {
            return String::new();
        }
        let span = tree.referenced.span();
        let raw = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, length)| {
                let start = usize::try_from(start).ok()?;
                self.text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
            })
            .unwrap_or_default()
            .trim();
        let line = raw.lines().next().unwrap_or_default();
        if line.chars().count() > 60 {
            line.chars().take(57).chain("...".chars()).collect()
        } else {
            line.into()
        }
    }
}

/// Where a value stands in the document.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    /// The thing that holds it, empty for the document itself.
    pub(super) subject: &'a str,
    /// How the API spells the settings of that thing.
    pub(super) names: ApiNames,
    /// Its key.
    pub(super) key: &'a str,
    /// Its number in a list, from 1.
    pub(super) number: Option<usize>,
}

impl Slot<'_> {
    /// The code of a value that is not what the key asks for.
    fn illegal(&self) -> ErrorCode {
        ErrorFamily::IllegalParam.of(api_name(self.names, self.key))
    }
}

/// What can be made from a tree.
pub(super) trait Decode: Sized {
    /// `None` after reporting what is wrong.
    fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self>;
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self> {
        match &tree.value {
            Value::Sequence(items) => {
                let good: Vec<T> = items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| {
                        T::decode(item, Slot { number: Some(index + 1), ..slot }, report)
                    })
                    .collect();
                // A list of nothing but mistakes is not an empty one, which may be a mistake of another kind.
                (!good.is_empty() || items.is_empty()).then_some(good)
            }
            other => {
                let written = report.written(tree);
                let remedy = if written.is_empty() {
                    "put it between `[` and `]`, or begin each entry with `- ` on a line of its own".into()
                } else {
                    format!("write `[{written}]`, or one entry per line, each begun with `- `")
                };
                let value = format!("{} {written}", slot.key);
                report.error(
                    slot.illegal(),
                    tree.referenced,
                    slot.subject,
                    value.trim_end(),
                    format!("expected a list, found {}", other.kind()),
                    remedy,
                );
                None
            }
        }
    }
}

/// What is written as one word or number.
pub(super) trait Scalar: Sized {
    /// Fits "expected {EXPECTED}".
    const EXPECTED: &'static str;
    /// Fits "write {EXAMPLE}".
    const EXAMPLE: &'static str;
    fn from_value(value: &Value) -> Option<Self>;
}

impl<T: Scalar> Decode for At<T> {
    fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Some(value) = T::from_value(&tree.value) {
            return Some(Self { value, at: tree.referenced });
        }
        let value = format!("{} {}", slot.key, report.written(tree));
        let found = match &tree.value {
            Value::Text(_) => String::new(),
            other => format!(", found {}", other.kind()),
        };
        report.error(
            slot.illegal(),
            tree.referenced,
            slot.subject,
            value.trim_end(),
            format!("expected {}{found}", T::EXPECTED),
            format!("write {}", T::EXAMPLE),
        );
        None
    }
}

impl Scalar for String {
    const EXPECTED: &'static str = "text";
    const EXAMPLE: &'static str = "a word, or quote it: \"...\"";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Text that YAML may take for a number, such as `3.0` or `200`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word(pub(super) String);

impl Scalar for Word {
    const EXPECTED: &'static str = "text or a number";
    const EXAMPLE: &'static str = "one word";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self(text.clone())),
            Value::Integer(number) => Some(Self(number.to_string())),
            // With its decimal point, even where nothing stands behind it.
            Value::Float(number) => Some(Self(format!("{number:?}"))),
            _ => None,
        }
    }
}

/// A mapping whose keys are the user's own: labels.
#[derive(Clone, Debug)]
pub(super) struct Labels(pub(super) Vec<(At<String>, At<Word>)>);

impl Decode for Labels {
    fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self> {
        let Value::Mapping(mapping) = &tree.value else {
            let value = format!("{} {}", slot.key, report.written(tree));
            report.error(
                slot.illegal(),
                tree.referenced,
                slot.subject,
                value.trim_end(),
                format!("expected a mapping, found {}", tree.value.kind()),
                "write `key: value` pairs",
            );
            return None;
        };
        let labels = mapping.iter().filter_map(|(key, value)| {
            let text = match &value.value {
                // An empty value is a label too.
                Value::Null => Some(At { value: Word(String::new()), at: value.referenced }),
                _ => At::decode(value, slot, report),
            };
            Some((At { value: key.value.clone(), at: key.referenced }, text?))
        });
        Some(Self(labels.collect()))
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    const EXAMPLE: &'static str = "true or false";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

/// A header that is written or not: under its usual name, or under this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderSwitch {
    Flag(bool),
    Name(String),
}

impl Scalar for HeaderSwitch {
    const EXPECTED: &'static str = "true, false or the name of a header";
    const EXAMPLE: &'static str = "true, or a name such as x-client-subject";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Text(name) => Some(Self::Name(name.clone())),
            _ => None,
        }
    }
}

/// A mapping, or one word in place of the simplest one.
#[derive(Clone, Debug)]
pub(super) enum Short<T> {
    Word(At<String>),
    Full(T),
}

impl<T: Entry> Decode for Short<T> {
    fn decode(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<Self> {
        match &tree.value {
            Value::Text(_) => At::decode(tree, slot, report).map(Self::Word),
            _ => decode_entry(tree, slot, report).map(Self::Full),
        }
    }
}

impl<T: Located> Located for Short<T> {
    fn location(&self) -> Location {
        match self {
            Self::Word(word) => word.at,
            Self::Full(entry) => entry.location(),
        }
    }
}

/// Any whole number; each field has its own range.
impl Scalar for i128 {
    const EXPECTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "a whole number without quotes or unit";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }
}

macro_rules! parsed_scalar {
    ($($type:ty, $expected:literal, $example:literal;)*) => {$(
        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            const EXAMPLE: &'static str = $example;
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

parsed_scalar! {
    Ipv4Addr, "an IPv4 address", "four numbers from 0 to 255 joined by dots, such as 172.16.1.10";
    Ipv6Addr, "an IPv6 address", "one such as 2001:db8:16:1::10";
    IpAddr, "an IP address", "one such as 172.16.1.10 or 2001:db8:16:1::10";
    Ipv4Net, "an IPv4 CIDR", "an address and a prefix length, such as 172.16.1.0/24";
    Ipv6Net, "an IPv6 CIDR", "an address and a prefix length, such as 2001:db8:16:1::/64";
    IpNet, "a CIDR", "an address and a prefix length, such as 172.16.1.0/24 or 2001:db8:16:1::/64";
    SocketAddr, "an address and a port", "both, such as 127.0.0.1:9180";
}

/// A mapping with known keys.
pub(super) trait Entry: Sized {
    /// Singular noun; empty for a document.
    const NOUN: &'static str;
    /// Keys whose values tell entries apart, in the order tried; several joined by `:` for an address and port.
    const LABEL: &'static [&'static str];
    const KEYS: &'static [&'static str];
    const API_NAMES: ApiNames;
    fn from_fields(fields: &Fields<'_>, report: &mut Report<'_>) -> Self;
}

/// The known keys of one mapping.
pub(super) struct Fields<'a> {
    entries: Vec<(&'static str, &'a Tree)>,
    pub(super) head: Head,
}

impl Fields<'_> {
    /// The value under `key`; absent and null are the same.
    pub(super) fn field<T: Decode>(&self, key: &'static str, report: &mut Report<'_>) -> Field<T> {
        let found = self.entries.iter().find(|(name, _)| *name == key);
        let Some((_, tree)) = found.filter(|(_, tree)| tree.value != Value::Null) else {
            return Field::Absent;
        };
        let slot = Slot { subject: &self.head.subject, names: self.head.names, key, number: None };
        T::decode(tree, slot, report).map_or(Field::Bad, Field::Good)
    }
}

/// Decodes a mapping: its keys checked, its subject named.
pub(super) fn decode_entry<T: Entry>(tree: &Tree, slot: Slot<'_>, report: &mut Report<'_>) -> Option<T> {
    let Value::Mapping(mapping) = &tree.value else {
        let value = report.written(tree);
        report.error(
            slot.illegal(),
            tree.referenced,
            slot.subject,
            format!("{} {value}", slot.key).trim(),
            format!("expected a mapping of {}, found {}", keys::<T>(), tree.value.kind()),
            T::KEYS.first().map_or_else(String::new, |key| format!("write `{{{key}: ...}}`")),
        );
        return None;
    };
    let subject = subject_of::<T>(mapping, slot, report);
    let mut entries: Vec<(&'static str, &Tree)> = Vec::new();
    for (key, value) in mapping {
        match T::KEYS.iter().find(|known| **known == key.value) {
            Some(known) => entries.push((known, value)),
            None => report.error(
                ErrorFamily::IllegalParam.of(camel_case(&key.value)),
                key.referenced,
                &subject,
                format!("key `{}`", key.value),
                "there is no such setting here",
                match nearest(&key.value, T::KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the settings are {}", keys::<T>()),
                },
            ),
        }
    }
    // The place of a mapping is its first key: in block style the mapping itself begins nowhere visible.
    let at = mapping.first().map_or(tree.referenced, |(key, _)| key.referenced);
    Some(T::from_fields(&Fields { entries, head: Head { subject, at, names: T::API_NAMES } }, report))
}

fn keys<T: Entry>() -> String {
    T::KEYS.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// `server group "web", server 172.16.1.20:80`, or its number in the list where it has no name.
fn subject_of<T: Entry>(
    mapping: &[(serde_saphyr::Spanned<String>, Tree)],
    slot: Slot<'_>,
    report: &Report<'_>,
) -> String {
    let labels: Vec<String> = T::LABEL
        .iter()
        .filter_map(|label| mapping.iter().find(|(key, _)| key.value == *label))
        .map(|(_, value)| match &value.value {
            // As in a URL, so that the port can be told from it.
            Value::Text(text) if text.parse::<Ipv6Addr>().is_ok() => format!("[{text}]"),
            Value::Text(text) => text.clone(),
            _ => report.written(value),
        })
        .filter(|label| !label.is_empty())
        .collect();
    let own = match (T::NOUN, labels.as_slice(), slot.number) {
        ("", ..) => String::new(),
        (noun, [], Some(number)) => format!("{noun} #{number}"),
        (noun, [], None) => noun.to_owned(),
        (noun, labels, _) if T::LABEL == ["name"] => format!("{noun} \"{}\"", labels[0]),
        (noun, labels, _) => format!("{noun} {}", labels.join(":")),
    };
    [slot.subject, &own].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The candidate most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| *candidate)
}
