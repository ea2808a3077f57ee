//! What the index is for: of many rules few are asked, none twice, and none for what led to it.

use super::*;
use std::cell::RefCell;

/// Candidates that the index leads a request to while none of them is approved of.
fn asked(set: &RuleSet, host: &str, path: &str) -> Vec<Candidate> {
    approving(set, host, path, |_| false)
}

/// The same, while `holds` says which rules do.
fn approving(set: &RuleSet, host: &str, path: &str, holds: impl Fn(u32) -> bool) -> Vec<Candidate> {
    let asked = RefCell::new(Vec::new());
    set.index.find(host.as_bytes(), path.as_bytes(), |candidate| {
        asked.borrow_mut().push(candidate);
        holds(candidate.rule)
    });
    asked.into_inner()
}

fn sure_of(rule: u32) -> Candidate {
    Candidate { rule, check_host: false, check_path: false }
}

#[test]
fn of_ten_thousand_rules_only_those_are_asked_that_host_and_path_lead_to() {
    let rule = |number: usize| match number % 5 {
        0 => rule(vec![host(&[&format!("h{number}.example")])]),
        1 => rule(vec![path(&[&format!("/p{number}")])]),
        2 => rule(vec![path(&[&format!("/p{number}/*")]), host(&["a.example"])]),
        3 => rule(vec![host(&[&format!("*.w{number}.example")]), path(&[&format!("/p{number}")])]),
        _ => rule(vec![path(&[&format!("*.{number}")]), host(&["b.example"])]),
    };
    let rules: Vec<_> = (0..10_000).map(rule).collect();
    let set = set(&rules);
    assert_eq!(asked(&set, "h5000.example", "/none"), [sure_of(5000)]);
    assert_eq!(asked(&set, "h5000.example", "/p5001"), [sure_of(5000), sure_of(5001)]);
    assert_eq!(asked(&set, "a.example", "/p5002/x"), [sure_of(5002)]);
    assert_eq!(asked(&set, "b.example", "/x.5004"), [sure_of(5004)]);
    assert_eq!(
        asked(&set, "x.w5003.example", "/p1"),
        [Candidate { check_path: true, ..sure_of(5003) }, sure_of(1)]
    );
    assert_eq!(asked(&set, "none", "/none"), []);
}

#[test]
fn a_rule_is_asked_once_however_many_of_its_values_lead_to_it() {
    let regexes = |count: usize| Condition::Path(vec![regex("a"); count]);
    // As many as a plain list holds, and more.
    for count in [1, 20] {
        let rules: Vec<_> = (0..count).map(|_| rule(vec![regexes(3)])).collect();
        let asked = asked(&set(&rules), "a", "/a");
        let rules: Vec<u32> = asked.iter().map(|candidate| candidate.rule).collect();
        assert!(rules.iter().copied().eq(0..count as u32), "{rules:?}");
    }
    // What is known to match is not asked again on another way to it.
    let others = (0..20).map(|_| rule(vec![regexes(1)]));
    let rules: Vec<_> =
        others.chain([rule(vec![Condition::Path(vec![Pattern::glob("/x"), regex("a")])])]).collect();
    let asked = approving(&set(&rules), "a", "/x", |rule| rule == 20);
    assert_eq!(asked.iter().filter(|candidate| candidate.rule == 20).count(), 1);
}

#[test]
fn what_one_value_is_sure_of_need_not_be_checked_for_another() {
    let every = |condition: fn(Vec<Pattern>) -> Condition| {
        [[regex("a"), Pattern::glob("*")], [Pattern::glob("*"), regex("a")]]
            .map(|values| condition(values.into()))
    };
    // A plain list has its paths checked in any case.
    let cases = [(1, every(Condition::Host)), (20, every(Condition::Host)), (20, every(Condition::Path))];
    for (count, conditions) in cases {
        for condition in conditions {
            let set = set(&vec![rule(vec![condition]); count]);
            assert!(asked(&set, "b", "/b").into_iter().eq((0..count as u32).map(sure_of)));
        }
    }
}
