//! Forwarding rules: which one a request or a response meets, and what its actions come to (LR-60 to LR-113).
//!
//! - [`RuleSet`]: the first rule of a list that matches (LR-63); `pattern` and `wildcard`, `condition`, `index` (with
//!   `table` and `hash`) are its parts
//! - [`location`]: redirects and rewrites · [`cors`]: what other sites' scripts may do · [`limit`]: how much is too much
//! - [`choice`]: which of several groups · [`trace`]: loops
//!
//! Absent here: what forwards, clocks (times are arguments), randomness and everything about servers. What comes from
//! the network is hostile: looking at a request costs no more than its length times the rules that look at it.

pub mod choice;
mod condition;
pub mod cors;
mod hash;
mod index;
pub mod limit;
pub mod location;
mod pattern;
mod table;
#[cfg(test)]
mod tests;
pub mod trace;
mod wildcard;

pub use pattern::{Subject, check_pattern};

use crate::model::{Extension, Final};
use crate::snapshot::RuleSnapshot;
use condition::{Check, Look};
use index::{Candidate, Index, Place};
use pattern::Matcher;
use std::net::IpAddr;

/// What of a request rules look at.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The host as asked for; may hold a port, which does not count, nor does case (LR-82).
    pub host: &'a [u8],
    /// The path as it came, without the query (LR-83).
    pub path: &'a [u8],
    /// The query as it came, without the `?`.
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
    /// Calls `visit` with the value of each line of this name, in any case, in order, until it returns true; whether it
    /// did.
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A rule that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its place in the list.
    pub index: usize,
    /// What its path condition captured; nothing unless an action of the rule uses captures.
    pub captures: Captures,
}

/// What the groups of the first regular expression of a path condition that matches captured (LR-98): `${1}` to `${3}`,
/// as places in the request's path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures([Option<(u32, u32)>; 3]);

impl Captures {
    /// The text of `${number}` in the path of the request that was matched; empty if there is none.
    pub fn of<'p>(&self, path: &'p [u8], number: u8) -> &'p [u8] {
        let place = usize::from(number).checked_sub(1).and_then(|group| *self.0.get(group)?);
        place.and_then(|(start, end)| path.get(start as usize..end as usize)).unwrap_or_default()
    }

    fn found_by(values: &[Matcher], path: &[u8]) -> Captures {
        let mut regexes = values.iter().filter_map(|value| match value {
            Matcher::Regex(regex) => Some(regex),
            _ => None,
        });
        let mut captures = Captures::default();
        if let Some(found) = regexes.find_map(|regex| regex.captures(path)) {
            for (place, group) in captures.0.iter_mut().zip(found.iter().skip(1)) {
                *place = group.map(|group| (group.start() as u32, group.end() as u32));
            }
        }
        captures
    }
}

/// Why rules do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {reason}")]
pub struct RuleError {
    /// [`RuleSnapshot::id`].
    pub rule: String,
    /// What is wrong with which pattern.
    pub reason: String,
}

/// Rules in their order, made ready for looking.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    index: Index,
}

#[derive(Debug)]
struct Rule {
    place: Place,
    /// The other conditions.
    checks: Box<[Check]>,
    uses_captures: bool,
}

impl RuleSet {
    /// The first of `rules` is asked first.
    ///
    /// Errors: the first rule with a pattern that [`check_pattern`] refuses.
    pub fn new(rules: &[RuleSnapshot]) -> Result<RuleSet, RuleError> {
        let compiled = rules
            .iter()
            .map(|rule| Rule::new(rule).map_err(|reason| RuleError { rule: rule.id.clone(), reason }));
        let rules: Vec<Rule> = compiled.collect::<Result<_, _>>()?;
        let index = Index::new(rules.iter().map(|rule| &rule.place));
        Ok(RuleSet { rules, index })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that matches `request`. A rule that asks for something of a response matches none.
    pub fn find(&self, request: &RequestView<'_>) -> Option<Match> {
        self.look(request, None)
    }

    /// The first rule that matches `request` and its response.
    pub fn find_response(
        &self,
        request: &RequestView<'_>,
        status: u16,
        response: &dyn Fields,
    ) -> Option<Match> {
        self.look(request, Some((status, response)))
    }

    fn look(&self, request: &RequestView<'_>, response: Option<(u16, &dyn Fields)>) -> Option<Match> {
        if self.rules.is_empty() {
            return None;
        }
        let host = without_port(request.host);
        let (mut buffer, spill);
        let host = if !host.iter().any(u8::is_ascii_uppercase) {
            host
        } else if host.len() <= HOST_BYTES_USUAL {
            buffer = [0; HOST_BYTES_USUAL];
            let copy = &mut buffer[..host.len()];
            copy.copy_from_slice(host);
            copy.make_ascii_lowercase();
            &*copy
        } else {
            spill = host.to_ascii_lowercase();
            &spill
        };
        let look = Look::new(request, host, response);
        let index = self.index.find(host, request.path, |candidate| self.holds(candidate, &look))? as usize;
        let rule = &self.rules[index];
        let captures = match &rule.place.path {
            Some(values) if rule.uses_captures => Captures::found_by(values, request.path),
            _ => Captures::default(),
        };
        Some(Match { index, captures })
    }

    fn holds(&self, candidate: Candidate, look: &Look<'_>) -> bool {
        let rule = &self.rules[candidate.rule as usize];
        let is_any = |values: &Option<Box<[Matcher]>>, text| {
            values.as_deref().is_none_or(|values| condition::any(values, text))
        };
        (!candidate.check_path || is_any(&rule.place.path, look.request.path))
            && (!candidate.check_host || is_any(&rule.place.host, look.host))
            && rule.checks.iter().all(|check| check.holds(look))
    }
}

/// Longer hosts in upper case cost an allocation; names end at 253 bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_USUAL: usize = 256;

/// A host without its port. The port follows the bracket that ends an address of IPv6.
fn without_port(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        let end = memchr::memchr(b']', host).map_or(host.len(), |bracket| bracket + 1);
        return &host[..end];
    }
    &host[..memchr::memchr(b':', host).unwrap_or(host.len())]
}

impl Rule {
    fn new(rule: &RuleSnapshot) -> Result<Rule, String> {
        let mut place = Place::default();
        let mut checks = Vec::new();
        for condition in &rule.conditions {
            checks.extend(place.take(Check::new(condition)?));
        }
        let mut templates = rule.actions.last.iter().filter_map(|last| match &last.action {
            Final::Redirect(redirect) => Some((&redirect.path, &redirect.query)),
            Final::Forward(_) | Final::FixedResponse(_) => None,
        });
        let mut rewrites = rule.actions.extensions.iter().filter_map(|extension| match &extension.action {
            Extension::Rewrite(rewrite) => Some((&rewrite.path, &rewrite.query)),
            _ => None,
        });
        let has_captures = |(path, query): (&crate::model::Template, &crate::model::Template)| {
            path.captures().chain(query.captures()).next().is_some()
        };
        let uses_captures = templates.any(has_captures) || rewrites.any(has_captures);
        Ok(Rule { place, checks: checks.into(), uses_captures })
    }
}
