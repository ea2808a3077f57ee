//! Which rule of a list a request meets: the first one whose conditions all hold (LR-63, LR-70).
//!
//! A list is asked as a whole: hosts are looked up by what they are, end or begin with, and so are the paths that rules ask
//! for under each; only rules that both allow are then looked at one by one, and only up to the best found so far. So
//! 10,000 rules on hosts and paths cost about what 10 do. Other conditions are held against the request rule by rule.

use super::condition::{Check, ResponseView};
use super::index::Index;
use super::pattern::{Compiled, Subject};
use crate::model::{Condition, Pattern};
use crate::snapshot::RuleSnapshot;
use std::collections::HashMap;
use std::net::IpAddr;

/// What of a request rules look at.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The host asked for, in any case, perhaps with a port, which does not count (LR-82).
    pub host: &'a [u8],
    /// The path as it came, without the query (LR-83).
    pub path: &'a [u8],
    /// The query as it came, without the `?`; `None` where there is no `?`.
    pub query: Option<&'a [u8]>,
    /// The method.
    pub method: &'a [u8],
    /// The client's address (LR-87).
    pub client: IpAddr,
    /// The header lines.
    pub fields: &'a dyn Fields,
}

/// Header lines.
pub trait Fields {
    /// Calls `visit` with the value of each line of this name, in any case and in order, until it returns true: whether
    /// it did.
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// The rule that a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its position in the list.
    pub index: usize,
    /// What its regular expression captured of the path.
    pub captures: Captures,
}

/// Parts of a path that the groups of a regular expression captured, by number from 1 (LR-98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures([Option<(usize, usize)>; 3]);

impl Captures {
    /// What group `number` captured of `path`; nothing if it took no part.
    pub fn of<'p>(&self, path: &'p [u8], number: u8) -> &'p [u8] {
        let captured = usize::from(number).checked_sub(1).and_then(|at| self.0.get(at).copied().flatten());
        captured.and_then(|(start, end)| path.get(start..end)).unwrap_or_default()
    }
}

/// A rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {reason}")]
pub struct RuleError {
    /// Its id.
    pub rule: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A list of rules of one direction.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<CompiledRule>,
    /// Rules by the hosts they ask for, and those that ask for none.
    hosts: Index<Paths>,
    any_host: Paths,
}

/// Positions of rules by the paths they ask for, and those that ask for none. Ascending.
#[derive(Debug)]
struct Paths {
    paths: Index<Vec<u32>>,
    any: Vec<u32>,
}

#[derive(Debug)]
struct CompiledRule {
    /// What the index does not see to.
    checks: Vec<Check>,
    /// Regular expressions on the path that capture something.
    captures: Vec<regex::bytes::Regex>,
}

/// The same before it is compiled: positions by path pattern, by host pattern; `None` is any.
type Positions<'a> = HashMap<Option<&'a Pattern>, HashMap<Option<&'a Pattern>, Vec<u32>>>;

impl RuleSet {
    /// Of `rules`, the first of which is asked first.
    ///
    /// Errors: a regular expression is malformed or too large.
    pub fn new(rules: &[RuleSnapshot]) -> Result<RuleSet, RuleError> {
        let mut positions = Positions::new();
        let mut compiled = Vec::with_capacity(rules.len());
        for (position, rule) in (0..).zip(rules) {
            let error = |reason| RuleError { rule: rule.id.clone(), reason };
            let checks = rule.conditions.iter().map(Check::new).filter_map(Result::transpose);
            let checks = checks.collect::<Result<_, _>>().map_err(error)?;
            let (mut hosts, mut paths) = (vec![None], vec![None]);
            for condition in &rule.conditions {
                match condition {
                    Condition::Host(patterns) => hosts = patterns.iter().map(Some).collect(),
                    Condition::Path(patterns) => paths = patterns.iter().map(Some).collect(),
                    _ => {}
                }
            }
            for host in hosts.iter().flatten() {
                Compiled::new(host, Subject::Host).map_err(error)?;
            }
            let mut captures = Vec::new();
            for path in paths.iter().flatten() {
                if let Compiled::Regex(regex) = Compiled::new(path, Subject::Other).map_err(error)?
                    && regex.captures_len() > 1
                {
                    captures.push(regex);
                }
            }
            for host in hosts {
                let of_host = positions.entry(host).or_default();
                for path in &paths {
                    let of_path = of_host.entry(*path).or_default();
                    // A pattern may stand twice in a rule.
                    if of_path.last() != Some(&position) {
                        of_path.push(position);
                    }
                }
            }
            compiled.push(CompiledRule { checks, captures });
        }
        let any_host = Paths::new(positions.remove(&None).unwrap_or_default());
        let hosts = positions.into_iter().filter_map(|(host, paths)| Some((host?, paths)));
        let hosts = hosts.map(|(host, paths)| (recompiled(host, Subject::Host), Paths::new(paths)));
        Ok(RuleSet { rules: compiled, hosts: Index::new(hosts.collect()), any_host })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule for a request.
    pub fn find(&self, request: &RequestView<'_>) -> Option<Match> {
        self.first(request, None)
    }

    /// The rule for a response of this status and with these header lines, to this request.
    pub fn find_response(
        &self,
        request: &RequestView<'_>,
        status: u16,
        response: &dyn Fields,
    ) -> Option<Match> {
        self.first(request, Some(ResponseView { status, fields: response }))
    }

    fn first(&self, request: &RequestView<'_>, response: Option<ResponseView<'_>>) -> Option<Match> {
        if self.rules.is_empty() {
            return None;
        }
        let mut best = u32::MAX;
        let mut look = |paths: &Paths| {
            let mut among = |positions: &[u32]| {
                for &position in positions.iter().take_while(|position| **position < best) {
                    let rule = &self.rules[position as usize];
                    if rule.checks.iter().all(|check| check.holds(request, response)) {
                        best = position;
                        break;
                    }
                }
            };
            among(&paths.any);
            paths.paths.find(request.path, |positions| among(positions));
        };
        look(&self.any_host);
        with_plain_host(request.host, |host| self.hosts.find(host, look));
        let rule = self.rules.get(best as usize)?;
        Some(Match { index: best as usize, captures: rule.captures_of(request.path) })
    }
}

impl Paths {
    fn new(paths: HashMap<Option<&Pattern>, Vec<u32>>) -> Paths {
        let mut any = Vec::new();
        let mut patterns = Vec::with_capacity(paths.len());
        for (path, positions) in paths {
            match path {
                None => any = positions,
                Some(path) => patterns.push((recompiled(path, Subject::Other), positions)),
            }
        }
        Paths { paths: Index::new(patterns), any }
    }
}

fn recompiled(pattern: &Pattern, subject: Subject) -> Compiled {
    Compiled::new(pattern, subject).expect("every pattern was compiled while its rule was looked at")
}

impl CompiledRule {
    fn captures_of(&self, path: &[u8]) -> Captures {
        let Some(found) = self.captures.iter().find_map(|regex| regex.captures(path)) else {
            return Captures::default();
        };
        let group = |number| found.get(number).map(|part| (part.start(), part.end()));
        Captures([group(1), group(2), group(3)])
    }
}

/// Calls `then` with `host` in lower case and without its port.
fn with_plain_host(host: &[u8], then: impl FnOnce(&[u8])) {
    let host = without_port(host);
    if !host.iter().any(u8::is_ascii_uppercase) {
        return then(host);
    }
    let mut short = [0; 256];
    match short.get_mut(..host.len()) {
        Some(lower) => {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            then(lower);
        }
        None => then(&host.to_ascii_lowercase()),
    }
}

/// `host[:port]` without the port.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        // In an IPv6 literal without a port the last colon stands before the bracket.
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests;
