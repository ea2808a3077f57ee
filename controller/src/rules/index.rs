//! Finds, of many rules, the few that a host and a path leave, so that 10,000 rules cost little more than ten.
//!
//! Two steps. The host leads to classes of rules: those that name it, those with a wildcard that begins or ends as it
//! does, and those that any host may match. In each class the path leads to rules in the same way. Every entry knows
//! the smallest rule behind it, and is passed over if a smaller one is already known to match: of all rules that match,
//! the first in the list is found (LR-63), whichever way led to it.
//!
//! Absent here: what else a rule asks for. Whoever is led to a rule still checks that.

use super::condition::Check;
use super::pattern::{Key, Matcher};
use super::table::Table;
use std::collections::BTreeMap;

/// A class of at most so many rules is a plain list: comparing a few paths is faster than looking them up.
const LIST_RULES_MAX: usize = 8;

/// A rule that may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place in the list.
    pub(super) rule: u32,
    /// Whether its host is still to be checked.
    pub(super) check_host: bool,
    /// Whether its path is.
    pub(super) check_path: bool,
}

/// Host and path conditions of a rule; `None`: it has none.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) host: Option<Box<[Matcher]>>,
    pub(super) path: Option<Box<[Matcher]>>,
}

impl Place {
    /// Takes `check` if it is the first on host or path, else gives it back.
    pub(super) fn take(&mut self, check: Check) -> Option<Check> {
        match check {
            Check::Host(values) if self.host.is_none() => self.host = Some(values),
            Check::Path(values) if self.path.is_none() => self.path = Some(values),
            other => return Some(other),
        }
        None
    }
}

/// All rules of a set by host and path.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// To positions in `classes`.
    hosts: TextIndex,
    classes: Vec<Class>,
    /// What classes and path indexes list, each list ascending.
    candidates: Vec<Candidate>,
}

/// Rules whose host conditions are found in the same way.
#[derive(Debug)]
enum Class {
    List(Range),
    /// To positions in `lists`.
    Indexed {
        paths: Box<TextIndex>,
        lists: Vec<Range>,
    },
}

/// A part of [`Index::candidates`].
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    end: u32,
}

impl Index {
    /// `places` are those of the rules in their order.
    pub(super) fn new<'a>(places: impl Iterator<Item = &'a Place>) -> Index {
        let places: Vec<&Place> = places.collect();
        let mut by_host: BTreeMap<Key<'_>, Vec<Candidate>> = BTreeMap::new();
        for (rule, place) in (0..).zip(&places) {
            for (key, is_all) in keys(place.host.as_deref()) {
                let candidate = Candidate { rule, check_host: !is_all, check_path: place.path.is_some() };
                add(by_host.entry(key).or_default(), candidate);
            }
        }
        let mut index = Index::default();
        let mut hosts = Vec::with_capacity(by_host.len());
        for (key, candidates) in by_host {
            hosts.push((key, index.classes.len() as u32, candidates[0].rule));
            let class = index.class(&places, candidates);
            index.classes.push(class);
        }
        index.hosts = TextIndex::new(hosts);
        index
    }

    fn class(&mut self, places: &[&Place], candidates: Vec<Candidate>) -> Class {
        if candidates.len() <= LIST_RULES_MAX {
            return Class::List(self.list(candidates));
        }
        let mut by_path: BTreeMap<Key<'_>, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            for (key, is_all) in keys(places[candidate.rule as usize].path.as_deref()) {
                add(by_path.entry(key).or_default(), Candidate { check_path: !is_all, ..candidate });
            }
        }
        let mut lists = Vec::with_capacity(by_path.len());
        let mut paths = Vec::with_capacity(by_path.len());
        for (key, candidates) in by_path {
            paths.push((key, lists.len() as u32, candidates[0].rule));
            lists.push(self.list(candidates));
        }
        Class::Indexed { paths: Box::new(TextIndex::new(paths)), lists }
    }

    fn list(&mut self, candidates: Vec<Candidate>) -> Range {
        let start = self.candidates.len() as u32;
        self.candidates.extend(candidates);
        Range { start, end: self.candidates.len() as u32 }
    }

    /// The first rule that `holds` approves of among those that `host`, without port and in lower case, and `path` lead
    /// to. Every rule whose host and path conditions hold is led to, unless one before it was approved of.
    pub(super) fn find(
        &self,
        host: &[u8],
        path: &[u8],
        mut holds: impl FnMut(Candidate) -> bool,
    ) -> Option<u32> {
        let found =
            self.hosts.visit(host, u32::MAX, &mut |class, bound| match &self.classes[class as usize] {
                Class::List(range) => self.first(*range, bound, &mut holds),
                Class::Indexed { paths, lists } => paths.visit(path, bound, &mut |list, bound| {
                    self.first(lists[list as usize], bound, &mut holds)
                }),
            });
        (found != u32::MAX).then_some(found)
    }

    /// The first rule of a list that `holds` approves of, if it is smaller than `bound`, else `bound`.
    fn first(&self, range: Range, bound: u32, holds: &mut impl FnMut(Candidate) -> bool) -> u32 {
        let list = &self.candidates[range.start as usize..range.end as usize];
        let mut before = list.iter().take_while(|candidate| candidate.rule < bound);
        before.find(|candidate| holds(**candidate)).map_or(bound, |candidate| candidate.rule)
    }
}

/// What leads to a rule with these conditions on a text; none of them if it can never match.
fn keys(values: Option<&[Matcher]>) -> Vec<(Key<'_>, bool)> {
    values.map_or_else(|| vec![(Key::Any, true)], |values| values.iter().map(Matcher::key).collect())
}

/// Adds a rule to the list of those before it. Where it is there already, what one way is sure of need not be checked.
fn add(list: &mut Vec<Candidate>, candidate: Candidate) {
    match list.last_mut() {
        Some(last) if last.rule == candidate.rule => {
            last.check_host &= candidate.check_host;
            last.check_path &= candidate.check_path;
        }
        _ => list.push(candidate),
    }
}

/// Leads from a text to numbers, by the whole of it, by what it begins with, by what it ends with.
#[derive(Debug, Default)]
struct TextIndex {
    exact: Table,
    prefixes: Table,
    suffixes: Table,
    /// Number of what any text leads to, and the smallest rule there.
    any: Option<(u32, u32)>,
}

impl TextIndex {
    /// Of keys, each once, with their numbers and the smallest rule there.
    fn new(keys: Vec<(Key<'_>, u32, u32)>) -> TextIndex {
        let (mut exact, mut prefixes, mut suffixes, mut any) = (vec![], vec![], vec![], None);
        for (key, number, first) in keys {
            match key {
                Key::Exact(text) => exact.push((text, number, first)),
                Key::Prefix(text) => prefixes.push((text, number, first)),
                Key::Suffix(text) => suffixes.push((text, number, first)),
                Key::Any => any = Some((number, first)),
            }
        }
        TextIndex {
            exact: Table::of_prefixes(&exact),
            prefixes: Table::of_prefixes(&prefixes),
            suffixes: Table::of_suffixes(&suffixes),
            any,
        }
    }

    /// Calls `take` with every number that `text` leads to and `bound`, which `take` makes smaller; not with those whose
    /// smallest rule is not below `bound`. Returns the bound at last.
    fn visit(&self, text: &[u8], bound: u32, take: &mut impl FnMut(u32, u32) -> u32) -> u32 {
        let bound = self.exact.whole(text, bound, take);
        let bound = self.prefixes.prefixes(text, bound, take);
        let bound = self.suffixes.suffixes(text, bound, take);
        match self.any {
            Some((number, first)) if first < bound => take(number, bound),
            _ => bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_text_leads_to_is_passed_over_too_where_its_rules_are_not_below_the_bound() {
        let index = TextIndex::new(vec![(Key::Any, 1, 5)]);
        for (bound, expected) in [(6, &[1][..]), (5, &[]), (4, &[])] {
            let mut taken = Vec::new();
            let last = index.visit(b"text", bound, &mut |number, bound| {
                taken.push(number);
                bound
            });
            assert_eq!((&*taken, last), (expected, bound));
        }
    }
}
