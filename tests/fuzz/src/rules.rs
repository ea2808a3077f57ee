//! Forwarding rules: the first whose conditions all hold, whatever an index makes of them.

use controller::model::{Actions, Condition, FieldCondition, Pair, Pattern, StatusPattern};
use controller::rules::{Fields, RequestView, RuleSet};
use controller::snapshot::RuleSnapshot;
use std::net::{IpAddr, Ipv4Addr};

/// Lines of the input: host, path with query, method, client (its first byte), one header line, the value of Cookie, then
/// one rule each. A rule is conditions with spaces between them: a letter, a colon, values with commas between them, as
/// [`condition`] reads them. Panics unless the set finds the rule that a reader of the whole list finds.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let [host, target, method, client, header, cookie] =
        std::array::from_fn(|_| lines.next().unwrap_or_default());
    let (path, query) = match target.iter().position(|&byte| byte == b'?') {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    };
    let client = Ipv4Addr::new(10, 0, 0, client.first().copied().unwrap_or_default());
    let client = if header.len() % 2 == 0 { IpAddr::V4(client) } else { client.to_ipv6_mapped().into() };
    let colon = header.iter().position(|&byte| byte == b':').unwrap_or(header.len());
    let fields = Lines(vec![
        (header[..colon].to_ascii_lowercase(), header.get(colon + 1..).unwrap_or_default()),
        (b"cookie".to_vec(), cookie),
    ]);
    let request = RequestView { host, path, query, method, client, fields: &fields };
    let rules: Vec<RuleSnapshot> = lines.take(RULES_MAX).enumerate().map(rule).collect();

    // A pattern may be none that we take, which other tests are about.
    let Ok(set) = RuleSet::new(&rules) else { return };
    let holds = |response: Option<(u16, &Lines)>| {
        rules.iter().position(|rule| {
            rule.conditions.iter().all(|condition| holds(condition, &request, &fields, response))
        })
    };
    assert_eq!(set.find(&request).map(|found| found.index), holds(None));
    for status in [200, 404] {
        let found = set.find_response(&request, status, &fields).map(|found| found.index);
        assert_eq!(found, holds(Some((status, &fields))), "status {status}");
    }
}

/// More would only make the search slow.
const RULES_MAX: usize = 40;

struct Lines<'a>(Vec<(Vec<u8>, &'a [u8])>);

impl Fields for Lines<'_> {
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(found, value)| found.eq_ignore_ascii_case(name.as_bytes()) && visit(value))
    }
}

fn rule((number, line): (usize, &[u8])) -> RuleSnapshot {
    let conditions = line.split(|&byte| byte == b' ').filter_map(condition).collect();
    let actions = Actions { extensions: Vec::new(), last: None };
    RuleSnapshot { id: number.to_string(), conditions, actions }
}

/// `h` hosts, `p` paths, `m` methods, `q` parameters and `c` cookies as `key=value`, `f` a request header and `r` one of the
/// response as `name=value`, `s` networks as the last byte of an address and a length, `t` statuses or classes of them.
fn condition(text: &[u8]) -> Option<Condition> {
    let (kind, values) = text.split_first()?;
    let values = String::from_utf8_lossy(values.strip_prefix(b":")?).into_owned();
    let values: Vec<&str> = values.split(',').collect();
    let patterns = |values: &[&str]| values.iter().map(|value| pattern(value)).collect();
    let halves = |text: &str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let pairs = || {
        let pairs = values.iter().filter_map(|value| halves(value));
        pairs.map(|(key, value)| Pair { key: pattern(&key), value: pattern(&value) }).collect()
    };
    let field = || {
        let mut pairs = values.iter().filter_map(|value| halves(value));
        let (key, first) = pairs.next()?;
        let values = std::iter::once(first).chain(pairs.map(|(_, value)| value));
        Some(FieldCondition { key, values: values.map(|value| pattern(&value)).collect() })
    };
    Some(match kind {
        b'h' => Condition::Host(patterns(&values)),
        b'p' => Condition::Path(patterns(&values)),
        b'm' => Condition::Method(values.iter().map(|&method| method.to_owned()).collect()),
        b'q' => Condition::QueryString(pairs()),
        b'c' => Condition::Cookie(pairs()),
        b'f' => Condition::Header(field()?),
        b'r' => Condition::ResponseHeader(field()?),
        b's' => Condition::SourceIp(
            values.iter().filter_map(|value| format!("10.0.0.{value}").parse().ok()).collect(),
        ),
        b't' => Condition::ResponseStatusCode(
            values
                .iter()
                .filter_map(|value| match value.parse().ok()? {
                    class @ 0..=9 => Some(StatusPattern::Class(class as u8)),
                    code => Some(StatusPattern::Code(code)),
                })
                .collect(),
        ),
        _ => return None,
    })
}

fn pattern(text: &str) -> Pattern {
    match text.strip_prefix('~') {
        Some(rest) => Pattern::Regex {
            pattern: rest.strip_prefix('*').unwrap_or(rest).to_owned(),
            ignore_case: rest.starts_with('*'),
        },
        None => Pattern::glob(text),
    }
}

fn holds(
    condition: &Condition,
    request: &RequestView<'_>,
    fields: &Lines<'_>,
    response: Option<(u16, &Lines<'_>)>,
) -> bool {
    let any =
        |patterns: &[Pattern], text: &[u8]| patterns.iter().any(|pattern| looks_like(pattern, text, false));
    let in_lines = |field: &FieldCondition, lines: &Lines<'_>| {
        let of_name = lines.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(field.key.as_bytes()));
        of_name.into_iter().any(|(_, value)| any(&field.values, value))
    };
    let in_pairs = |wanted: &[Pair], found: &[(Vec<u8>, Vec<u8>)]| {
        wanted.iter().any(|wanted| {
            found.iter().any(|(key, value)| {
                looks_like(&wanted.key, key, false) && looks_like(&wanted.value, value, false)
            })
        })
    };
    match condition {
        Condition::Host(patterns) => {
            let host = plain_host(request.host);
            patterns.iter().any(|pattern| looks_like(pattern, &host, true))
        }
        Condition::Path(patterns) => any(patterns, request.path),
        Condition::Header(field) => in_lines(field, fields),
        Condition::QueryString(wanted) => in_pairs(wanted, &parameters(request.query.unwrap_or_default())),
        Condition::Method(methods) => methods.iter().any(|method| method.as_bytes() == request.method),
        Condition::Cookie(wanted) => {
            let lines = fields.0.iter().filter(|(name, _)| name == b"cookie");
            lines.into_iter().any(|(_, line)| in_pairs(wanted, &cookies(line)))
        }
        Condition::SourceIp(networks) => {
            let client = request.client.to_canonical();
            networks.iter().any(|network| network.contains(&client))
        }
        Condition::ResponseHeader(field) => response.is_some_and(|(_, lines)| in_lines(field, lines)),
        Condition::ResponseStatusCode(wanted) => response.is_some_and(|(status, _)| {
            wanted.iter().any(|wanted| match wanted {
                StatusPattern::Code(code) => *code == status,
                StatusPattern::Class(class) => status / 100 == u16::from(*class),
            })
        }),
    }
}

/// In lower case and without what follows the name or the closing bracket.
fn plain_host(host: &[u8]) -> Vec<u8> {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => host.iter().position(|&byte| byte == b':'),
    };
    host[..end.unwrap_or(host.len())].to_ascii_lowercase()
}

fn parameters(query: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let parts = query.split(|&byte| byte == b'&').filter(|part| !part.is_empty());
    let pair = |part: &[u8]| {
        let mut halves = part.splitn(2, |&byte| byte == b'=').map(decode);
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
    };
    parts.map(pair).collect()
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match (text[at], digits.and_then(|digits| std::str::from_utf8(digits).ok())) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(digits)) => {
                out.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits are a byte"));
                at += 2;
            }
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn cookies(line: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |part: &[u8]| {
        let equals = part.iter().position(|&byte| byte == b'=')?;
        Some((part[..equals].trim_ascii().to_vec(), part[equals + 1..].trim_ascii().to_vec()))
    };
    line.split(|&byte| byte == b';').filter_map(pair).collect()
}

fn looks_like(pattern: &Pattern, text: &[u8], is_host: bool) -> bool {
    let lower = |pattern: &str| if is_host { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
    match pattern {
        Pattern::Literal(literal) => lower(literal).as_bytes() == text,
        Pattern::Wildcard(pattern) => fits(lower(pattern).as_bytes(), text),
        Pattern::Regex { pattern, ignore_case } => regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .case_insensitive(*ignore_case || is_host)
            .build()
            .is_ok_and(|regex| regex.is_match(text)),
    }
}

/// By every beginning of the text that every beginning of the pattern fits.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for &byte in pattern {
        let before = std::mem::replace(&mut ends, vec![false; text.len() + 1]);
        for end in 0..=text.len() {
            ends[end] = match byte {
                b'*' => before[end] || (end > 0 && ends[end - 1]),
                _ => end > 0 && before[end - 1] && (byte == b'?' || byte == text[end - 1]),
            };
        }
    }
    ends[text.len()]
}
