//! Conditions that no index helps with: each is held against the request when all others of its rule may hold.

use super::matcher::{Fields, RequestView};
use super::pattern::{Compiled, Subject};
use crate::model::{Condition, FieldCondition, Pair, StatusPattern};
use crate::sticky::cookies::pairs;
use ipnet::IpNet;
use std::borrow::Cow;

/// A condition ready to be held against requests and responses.
#[derive(Debug)]
pub enum Check {
    Header(Field),
    QueryString(Vec<Parameter>),
    Method(Vec<Box<[u8]>>),
    Cookie(Vec<Parameter>),
    SourceIp(Vec<IpNet>),
    ResponseHeader(Field),
    ResponseStatusCode(Vec<StatusPattern>),
}

#[derive(Debug)]
pub struct Field {
    name: Box<str>,
    values: Vec<Compiled>,
}

#[derive(Debug)]
pub struct Parameter {
    key: Compiled,
    value: Compiled,
}

/// What a response rule looks at besides the request.
#[derive(Clone, Copy)]
pub struct ResponseView<'a> {
    pub status: u16,
    pub fields: &'a dyn Fields,
}

impl Check {
    /// `None` for conditions that the index looks after. Errors: what is wrong with a pattern, in words.
    pub fn new(condition: &Condition) -> Result<Option<Check>, String> {
        Ok(Some(match condition {
            Condition::Host(_) | Condition::Path(_) => return Ok(None),
            Condition::Header(field) => Check::Header(Field::new(field)?),
            Condition::QueryString(pairs) => Check::QueryString(parameters(pairs)?),
            Condition::Method(methods) => {
                Check::Method(methods.iter().map(|method| method.as_bytes().into()).collect())
            }
            Condition::Cookie(pairs) => Check::Cookie(parameters(pairs)?),
            Condition::SourceIp(networks) => Check::SourceIp(networks.clone()),
            Condition::ResponseHeader(field) => Check::ResponseHeader(Field::new(field)?),
            Condition::ResponseStatusCode(codes) => Check::ResponseStatusCode(codes.clone()),
        }))
    }

    /// Whether it holds. Conditions on a response do not while there is none.
    pub fn holds(&self, request: &RequestView<'_>, response: Option<ResponseView<'_>>) -> bool {
        match self {
            Check::Header(field) => field.is_in(request.fields),
            Check::QueryString(wanted) => request.query.is_some_and(|query| {
                query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).any(|part| {
                    let split = memchr::memchr(b'=', part);
                    let key = decoded(&part[..split.unwrap_or(part.len())]);
                    let value = split.map_or(Cow::Borrowed(&b""[..]), |at| decoded(&part[at + 1..]));
                    wanted.iter().any(|wanted| wanted.matches(&key, &value))
                })
            }),
            Check::Method(methods) => methods.iter().any(|method| **method == *request.method),
            Check::Cookie(wanted) => request.fields.any("cookie", &mut |line| {
                pairs(line).any(|pair| {
                    let (name, value) = (&line[pair.name], &line[pair.value]);
                    wanted.iter().any(|wanted| wanted.matches(name, value))
                })
            }),
            Check::SourceIp(networks) => {
                let client = request.client.to_canonical();
                networks.iter().any(|network| network.contains(&client))
            }
            Check::ResponseHeader(field) => response.is_some_and(|response| field.is_in(response.fields)),
            Check::ResponseStatusCode(codes) => response.is_some_and(|response| {
                codes.iter().any(|code| match *code {
                    StatusPattern::Code(code) => code == response.status,
                    StatusPattern::Class(class) => u16::from(class) == response.status / 100,
                })
            }),
        }
    }
}

impl Field {
    fn new(condition: &FieldCondition) -> Result<Field, String> {
        let values = condition.values.iter().map(|value| Compiled::new(value, Subject::Other));
        Ok(Field { name: condition.key.as_str().into(), values: values.collect::<Result<_, _>>()? })
    }

    fn is_in(&self, fields: &dyn Fields) -> bool {
        fields.any(&self.name, &mut |value| self.values.iter().any(|wanted| wanted.matches(value)))
    }
}

impl Parameter {
    fn matches(&self, key: &[u8], value: &[u8]) -> bool {
        self.key.matches(key) && self.value.matches(value)
    }
}

fn parameters(pairs: &[Pair]) -> Result<Vec<Parameter>, String> {
    let parameter = |pair: &Pair| {
        Ok(Parameter {
            key: Compiled::new(&pair.key, Subject::Other)?,
            value: Compiled::new(&pair.value, Subject::Other)?,
        })
    };
    pairs.iter().map(parameter).collect()
}

/// A part of a query without its encoding: `+` is a space, `%41` is `A`; what is no encoding stays (LR-86).
fn decoded(part: &[u8]) -> Cow<'_, [u8]> {
    if !part.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(part);
    }
    let digit =
        |byte: Option<&u8>| byte.and_then(|&byte| (byte as char).to_digit(16)).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(part.len());
    let mut at = 0;
    while let Some(&byte) = part.get(at) {
        at += 1;
        out.push(match (byte, digit(part.get(at)), digit(part.get(at + 1))) {
            (b'+', ..) => b' ',
            (b'%', Some(high), Some(low)) => {
                at += 2;
                high << 4 | low
            }
            _ => byte,
        });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds LR-86
    #[test]
    fn queries_are_read_without_their_encoding() {
        for (part, expected) in [
            ("plain", "plain"),
            ("a+b", "a b"),
            ("%41%2f%2F", "A//"),
            ("%4", "%4"),
            ("%", "%"),
            ("%zz%4z", "%zz%4z"),
            ("%%41", "%A"),
            ("%2B", "+"),
        ] {
            assert_eq!(decoded(part.as_bytes()), expected.as_bytes(), "{part}");
        }
    }
}
