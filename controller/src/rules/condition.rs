//! Conditions, compiled and held against a request or response (LR-70 to LR-87).
//!
//! Query and cookies are taken apart once for each look, and only if a rule asks for them; each rule then compares what
//! is there once. Whatever a client sends costs time in proportion to its length, for each rule that looks at it.

use super::pattern::{Matcher, Subject};
use super::{Fields, RequestView};
use crate::model::{Condition, FieldCondition, Pair, Pattern, StatusPattern};
use ipnet::IpNet;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;

/// A compiled condition.
#[derive(Debug)]
pub(super) enum Check {
    /// See [`Condition::Host`].
    Host(Box<[Matcher]>),
    /// See [`Condition::Path`].
    Path(Box<[Matcher]>),
    Header(FieldCheck),
    Query(Box<[PairCheck]>),
    Method(Box<[String]>),
    Cookie(Box<[PairCheck]>),
    SourceIp(Box<[IpNet]>),
    ResponseHeader(FieldCheck),
    ResponseStatus(Box<[StatusPattern]>),
}

#[derive(Debug)]
pub(super) struct FieldCheck {
    name: String,
    values: Box<[Matcher]>,
}

#[derive(Debug)]
pub(super) struct PairCheck {
    key: Matcher,
    value: Matcher,
}

impl Check {
    /// Errors: what is wrong with which pattern.
    pub(super) fn new(condition: &Condition) -> Result<Check, String> {
        Ok(match condition {
            Condition::Host(values) => Check::Host(matchers(values, Subject::Host)?),
            Condition::Path(values) => Check::Path(matchers(values, Subject::Other)?),
            Condition::Header(field) => Check::Header(FieldCheck::new(field)?),
            Condition::QueryString(pairs) => Check::Query(pair_checks(pairs)?),
            Condition::Method(methods) => Check::Method(methods.clone().into()),
            Condition::Cookie(pairs) => Check::Cookie(pair_checks(pairs)?),
            Condition::SourceIp(nets) => Check::SourceIp(nets.clone().into()),
            Condition::ResponseHeader(field) => Check::ResponseHeader(FieldCheck::new(field)?),
            Condition::ResponseStatusCode(statuses) => Check::ResponseStatus(statuses.clone().into()),
        })
    }

    /// Whether it holds of what `look` is about. What asks for a response does not hold before there is one.
    pub(super) fn holds(&self, look: &Look<'_>) -> bool {
        match self {
            Check::Host(values) => any(values, look.host),
            Check::Path(values) => any(values, look.request.path),
            Check::Header(field) => field.holds(look.request.fields),
            Check::Query(pairs) => look.query().any(pairs),
            Check::Method(methods) => methods.iter().any(|method| method.as_bytes() == look.request.method),
            Check::Cookie(pairs) => look.cookies().any(pairs),
            Check::SourceIp(nets) => nets.iter().any(|net| net.contains(&look.client)),
            Check::ResponseHeader(field) => look.response.is_some_and(|(_, fields)| field.holds(fields)),
            Check::ResponseStatus(statuses) => look.response.is_some_and(|(status, _)| {
                statuses.iter().any(|pattern| match pattern {
                    StatusPattern::Code(code) => *code == status,
                    StatusPattern::Class(class) => u16::from(*class) == status / 100,
                })
            }),
        }
    }
}

impl FieldCheck {
    fn new(field: &FieldCondition) -> Result<FieldCheck, String> {
        Ok(FieldCheck { name: field.key.clone(), values: matchers(&field.values, Subject::Other)? })
    }

    fn holds(&self, fields: &dyn Fields) -> bool {
        fields.any(&self.name, &mut |value| any(&self.values, value))
    }
}

/// Whether one of `values` matches.
pub(super) fn any(values: &[Matcher], text: &[u8]) -> bool {
    values.iter().any(|value| value.matches(text))
}

fn matchers(patterns: &[Pattern], subject: Subject) -> Result<Box<[Matcher]>, String> {
    patterns.iter().map(|pattern| matcher(pattern, subject)).collect()
}

fn pair_checks(pairs: &[Pair]) -> Result<Box<[PairCheck]>, String> {
    let check = |pair: &Pair| {
        Ok(PairCheck {
            key: matcher(&pair.key, Subject::Other)?,
            value: matcher(&pair.value, Subject::Other)?,
        })
    };
    pairs.iter().map(check).collect()
}

fn matcher(pattern: &Pattern, subject: Subject) -> Result<Matcher, String> {
    Matcher::new(pattern, subject).map_err(|error| {
        let (Pattern::Literal(text) | Pattern::Wildcard(text) | Pattern::Regex { pattern: text, .. }) =
            pattern;
        format!("{text:?}: {error}")
    })
}

/// One look at a request, and maybe at its response, through all rules.
pub(super) struct Look<'a> {
    pub(super) request: &'a RequestView<'a>,
    /// The host, without port and in lower case.
    pub(super) host: &'a [u8],
    client: IpAddr,
    response: Option<(u16, &'a dyn Fields)>,
    query: OnceCell<Pairs<'a>>,
    cookies: OnceCell<Pairs<'static>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        request: &'a RequestView<'a>,
        host: &'a [u8],
        response: Option<(u16, &'a dyn Fields)>,
    ) -> Look<'a> {
        Look {
            request,
            host,
            // An IPv4 client of an IPv6 socket is an IPv4 client.
            client: request.client.to_canonical(),
            response,
            query: OnceCell::new(),
            cookies: OnceCell::new(),
        }
    }

    fn query(&self) -> &Pairs<'a> {
        self.query.get_or_init(|| Pairs::of_query(self.request.query.unwrap_or_default()))
    }

    fn cookies(&self) -> &Pairs<'static> {
        self.cookies.get_or_init(|| {
            let mut pairs = Pairs::default();
            self.request.fields.any("cookie", &mut |line| {
                pairs.add_cookies(line);
                false
            });
            pairs
        })
    }
}

/// Names with values.
#[derive(Debug, Default)]
struct Pairs<'a> {
    text: Cow<'a, [u8]>,
    /// Places in `text`: 32 bits are enough for a head.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key_start: u32,
    key_end: u32,
    value_start: u32,
    value_end: u32,
}

impl<'a> Pairs<'a> {
    /// Parameters of a query, decoded (LR-86): `+` is a space, `%41` an `A`; a `%` without two hexadecimal digits
    /// stands for itself. A parameter without `=` has an empty value.
    fn of_query(query: &'a [u8]) -> Pairs<'a> {
        if memchr::memchr2(b'%', b'+', query).is_none() {
            let mut pairs = Pairs { text: Cow::Borrowed(query), places: Vec::new() };
            let mut start = 0;
            for part in query.split(|byte| *byte == b'&') {
                let end = start + part.len();
                if !part.is_empty() {
                    let equals = memchr::memchr(b'=', part).map(|at| start + at);
                    pairs.add_place(start, equals.unwrap_or(end), equals.map_or(end, |at| at + 1), end);
                }
                start = end + 1;
            }
            return pairs;
        }
        let mut pairs = Pairs { text: Cow::Owned(Vec::with_capacity(query.len())), places: Vec::new() };
        for part in query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
            let (key, value) = split_at_equals(part).unwrap_or((part, &[]));
            let text = pairs.text.to_mut();
            let start = text.len();
            decode(key, text);
            let middle = text.len();
            decode(value, text);
            let end = text.len();
            pairs.add_place(start, middle, middle, end);
        }
        pairs
    }

    /// The cookies of a Cookie line (RFC 6265, section 4.2.1). What has no `=` is no cookie.
    fn add_cookies(&mut self, line: &[u8]) {
        for part in line.split(|byte| *byte == b';') {
            let Some((key, value)) = split_at_equals(part) else { continue };
            let (key, value) = (key.trim_ascii(), value.trim_ascii());
            let text = self.text.to_mut();
            let start = text.len();
            text.extend_from_slice(key);
            let middle = text.len();
            text.extend_from_slice(value);
            let end = text.len();
            self.add_place(start, middle, middle, end);
        }
    }

    fn add_place(&mut self, key_start: usize, key_end: usize, value_start: usize, value_end: usize) {
        let place = |at: usize| u32::try_from(at).expect("a head is smaller than 4 GB");
        self.places.push(Place {
            key_start: place(key_start),
            key_end: place(key_end),
            value_start: place(value_start),
            value_end: place(value_end),
        });
    }

    /// Whether one of them is one of those wanted.
    fn any(&self, wanted: &[PairCheck]) -> bool {
        let text = |start: u32, end: u32| &self.text[start as usize..end as usize];
        self.places.iter().any(|place| {
            let key = text(place.key_start, place.key_end);
            wanted.iter().any(|pair| {
                pair.key.matches(key) && pair.value.matches(text(place.value_start, place.value_end))
            })
        })
    }
}

fn split_at_equals(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'=', part)?;
    Some((&part[..at], &part[at + 1..]))
}

fn decode(part: &[u8], into: &mut Vec<u8>) {
    let mut rest = part.iter();
    while let Some(&byte) = rest.next() {
        into.push(match byte {
            b'+' => b' ',
            b'%' => match hexadecimal(rest.as_slice()) {
                Some(decoded) => {
                    rest.nth(1);
                    decoded
                }
                None => b'%',
            },
            byte => byte,
        });
    }
}

fn hexadecimal(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low, ..] = text else { return None };
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}
