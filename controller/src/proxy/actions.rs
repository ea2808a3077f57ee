//! What the rules of a listener do, resolved when a snapshot arrives, so that a request finds it ready.

use super::group::Group;
use super::limits::{Limits, SharedLimits};
use super::stats::RuleColumn;
use crate::balance::consistent_hash::key_of_value;
use crate::model::{
    Actions, Cors, Extension, Final, FixedResponse, Forward, GroupShare, HeaderValue, Redirect, Rewrite,
};
use crate::rules::choice::GroupChoice;
use crate::rules::trace;
use crate::snapshot::{CookieKey, ListenerSnapshot, RuleSnapshot, Snapshot};
use crate::sticky::Sticky;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What one rule does to a request, or the default action.
pub struct RuleActions {
    /// As the log names it.
    pub id: String,
    pub counters: Arc<RuleColumn>,
    /// Appended to the header that loops are known by (LR-110).
    pub trace: [u8; trace::HASH_BYTES],
    /// Names of lines that servers do not get from the client.
    pub hidden: Vec<Box<[u8]>>,
    /// Lines that servers get, in order.
    pub inserts: Vec<(String, HeaderValue)>,
    /// What may answer before the end does, in order.
    pub steps: Vec<Step>,
    pub rewrite: Option<Rewrite>,
    pub mirror: Option<Rc<Group>>,
    pub end: End,
}

/// What may answer a request before its last action does.
pub enum Step {
    Limit(Arc<Limits>),
    Cors(Cors),
}

/// What ends a rule.
pub enum End {
    /// One of several groups.
    Forward(Groups),
    Redirect(Redirect),
    Fixed(FixedResponse),
}

/// Groups that share requests.
pub struct Groups {
    groups: Vec<Rc<Group>>,
    weights: Vec<u32>,
    choice: RefCell<GroupChoice>,
    /// How clients keep to their group (LR-95).
    pub sticky: Option<Sticky>,
}

/// What one response rule does.
pub struct ResponseActions {
    pub hidden: Vec<Box<[u8]>>,
    pub inserts: Vec<(String, HeaderValue)>,
    pub answer: Option<FixedResponse>,
}

/// What actions are made from.
pub struct Makings<'a, E> {
    pub snapshot: &'a Snapshot,
    pub listener: &'a ListenerSnapshot,
    /// Names of lines that are the listener's to write, and that no client decides about.
    pub hidden: &'a [Box<[u8]>],
    /// The group at a position.
    pub group: &'a mut dyn FnMut(u32) -> Result<Rc<Group>, E>,
    pub limits: &'a SharedLimits,
    /// New counters for a rule of the listener.
    pub counters: &'a dyn Fn(&str) -> Arc<RuleColumn>,
    /// Of the same listener before, by id, the default action's included.
    pub previous: HashMap<&'a str, &'a RuleActions>,
}

impl<E> Makings<'_, E> {
    /// Those of the listener's default action (LR-65).
    pub fn default(&mut self) -> Result<RuleActions, E> {
        let forward = Forward {
            groups: vec![GroupShare { group: self.listener.group, weight: 100 }],
            sticky_secs: None,
        };
        let id = format!("rule-default-{}", self.listener.name);
        let end = End::Forward(self.groups(&id, &forward)?);
        Ok(RuleActions {
            trace: self.trace(&id),
            counters: self.counters(&id),
            id,
            hidden: self.hidden.to_vec(),
            inserts: Vec::new(),
            steps: Vec::new(),
            rewrite: None,
            mirror: None,
            end,
        })
    }

    /// Those of a request rule.
    pub fn of(&mut self, rule: &RuleSnapshot) -> Result<RuleActions, E> {
        let (removed, inserts) = header_changes(&rule.actions);
        let (mut steps, mut rewrite, mut mirror) = (Vec::new(), None, None);
        for extension in &rule.actions.extensions {
            match &extension.action {
                Extension::Rewrite(change) => rewrite = Some(change.clone()),
                Extension::TrafficLimit(limit) => {
                    steps.push(Step::Limit(self.limits.of(&self.listener.load_balancer, &rule.id, *limit)));
                }
                Extension::TrafficMirror { group } => mirror = Some((self.group)(*group)?),
                Extension::Cors(cors) => steps.push(Step::Cors(cors.clone())),
                Extension::InsertHeader(_) | Extension::RemoveHeader { .. } => {}
            }
        }
        let end = match rule.actions.last.as_ref().map(|last| &last.action) {
            Some(Final::Forward(forward)) => End::Forward(self.groups(&rule.id, forward)?),
            Some(Final::Redirect(redirect)) => End::Redirect(redirect.clone()),
            Some(Final::FixedResponse(fixed)) => End::Fixed(fixed.clone()),
            // Configuration gives every request rule an end; without one it ends as requests without a rule do.
            None => {
                let counters = self.counters(&rule.id);
                return Ok(RuleActions { id: rule.id.clone(), counters, ..self.default()? });
            }
        };
        Ok(RuleActions {
            id: rule.id.clone(),
            counters: self.counters(&rule.id),
            trace: self.trace(&rule.id),
            hidden: self.hidden.iter().cloned().chain(removed).collect(),
            inserts,
            steps,
            rewrite,
            mirror,
            end,
        })
    }

    fn trace(&self, rule: &str) -> [u8; trace::HASH_BYTES] {
        trace::hash_of(&self.snapshot.installation, &self.listener.load_balancer, rule)
    }

    /// Those that the rule had before.
    fn counters(&self, rule: &str) -> Arc<RuleColumn> {
        match self.previous.get(rule) {
            Some(previous) => previous.counters.clone(),
            None => (self.counters)(rule),
        }
    }

    fn groups(&mut self, rule: &str, forward: &Forward<u32>) -> Result<Groups, E> {
        let groups =
            forward.groups.iter().map(|share| (self.group)(share.group)).collect::<Result<_, E>>()?;
        let weights: Vec<u32> = forward.groups.iter().map(|share| share.weight).collect();
        let before = self.previous.get(rule).and_then(|same| match &same.end {
            End::Forward(groups) => Some(groups.choice.borrow().clone()),
            End::Redirect(_) | End::Fixed(_) => None,
        });
        let choice =
            before.filter(|before| before.has(&weights)).unwrap_or_else(|| GroupChoice::new(&weights));
        let keys: &[CookieKey] = &self.snapshot.cookie_keys;
        let scope = format!("{}\0{rule}", self.listener.load_balancer);
        let sticky = forward.sticky_secs.map(|timeout| Sticky::of_groups(&scope, timeout, keys));
        Ok(Groups { groups, weights, choice: RefCell::new(choice), sticky })
    }
}

impl ResponseActions {
    /// Those of a response rule.
    pub fn new(rule: &RuleSnapshot) -> ResponseActions {
        let (removed, inserts) = header_changes(&rule.actions);
        let answer = match rule.actions.last.as_ref().map(|last| &last.action) {
            Some(Final::FixedResponse(fixed)) => Some(fixed.clone()),
            _ => None,
        };
        ResponseActions { hidden: removed.collect(), inserts, answer }
    }
}

impl Groups {
    /// The group for a request without a group of its own: by weight, `None` if none has any. `peeks`: as the next
    /// request would have it, which changes nothing.
    pub fn choose(&self, peeks: bool) -> Option<&Rc<Group>> {
        if let [only] = self.groups.as_slice() {
            return (self.weights[0] > 0).then_some(only);
        }
        let position =
            if peeks { self.choice.borrow().clone().pick() } else { self.choice.borrow_mut().pick() };
        self.groups.get(position?)
    }

    /// The group that a cookie names. One without weight takes nobody, not even who was there before (as SG-90).
    pub fn of_identity(&self, identity: u64) -> Option<&Rc<Group>> {
        let mut weighted = self.groups.iter().zip(&self.weights);
        weighted
            .find(|(group, weight)| **weight > 0 && identity_of(group) == identity)
            .map(|(group, _)| group)
    }
}

/// What a cookie names `group` by.
pub fn identity_of(group: &Group) -> u64 {
    key_of_value(group.name.as_bytes())
}

/// What a rule's actions do to header lines, one after the other: names that go, and lines that come.
fn header_changes<G>(
    actions: &Actions<G>,
) -> (impl Iterator<Item = Box<[u8]>> + use<G>, Vec<(String, HeaderValue)>) {
    let (mut removed, mut inserts): (Vec<String>, Vec<(String, HeaderValue)>) = (Vec::new(), Vec::new());
    for extension in &actions.extensions {
        match &extension.action {
            Extension::RemoveHeader { key } => {
                removed.push(key.to_ascii_lowercase());
                inserts.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
            }
            Extension::InsertHeader(insert) => {
                if insert.cover {
                    removed.push(insert.key.to_ascii_lowercase());
                    inserts.retain(|(name, _)| !name.eq_ignore_ascii_case(&insert.key));
                }
                inserts.push((insert.key.clone(), insert.value.clone()));
            }
            _ => {}
        }
    }
    (removed.into_iter().map(|name| name.into_bytes().into_boxed_slice()), inserts)
}
