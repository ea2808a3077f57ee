//! Each rule: the tutorial's files with one thing changed, and the message that comes of it.

mod connectivity;
mod files;
mod node;
mod resources;
mod servers;

use super::{ConfigErrors, Finding, parse_both, parse_node, parse_resources};

/// The tutorial's files, valid and without warnings.
pub(super) const NODE: &str = include_str!("node.yaml");
pub(super) const RESOURCES: &str = include_str!("resources.yaml");

/// `text` with each pair's first part, which must occur once, replaced by its second.
#[track_caller]
fn edit(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old:?} should occur once");
        text.replace(old, new)
    })
}

/// One line for each finding, without the place.
fn sentences(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            let line = finding.to_string();
            line.strip_prefix(&format!("{}: ", finding.place))
                .expect("a finding begins with its place")
                .to_owned()
        })
        .collect()
}

/// Errors of the tutorial's two files after `edits` to the resources, as lines without places.
#[track_caller]
fn errors(edits: &[(&str, &str)]) -> Vec<String> {
    let errors = parse_both((NODE, "node.yaml"), (&edit(RESOURCES, edits), "resources.yaml"));
    sentences(errors.expect_err("the edited resources should be refused").findings())
}

/// Warnings of the tutorial's two files after `edits` to the resources.
#[track_caller]
fn warnings(edits: &[(&str, &str)]) -> Vec<String> {
    match parse_both((NODE, "node.yaml"), (&edit(RESOURCES, edits), "resources.yaml")) {
        Ok((_, resources)) => sentences(resources.warnings.findings()),
        Err(errors) => panic!("the edited resources should be accepted:\n{errors}"),
    }
}

/// Errors of the tutorial's two files after `edits` to the node settings.
#[track_caller]
fn node_errors(edits: &[(&str, &str)]) -> Vec<String> {
    let errors: Result<_, ConfigErrors> =
        parse_both((&edit(NODE, edits), "node.yaml"), (RESOURCES, "resources.yaml"));
    sentences(errors.expect_err("the edited node settings should be refused").findings())
}

/// Warnings of the tutorial's two files after `edits` to the node settings.
#[track_caller]
fn node_warnings(edits: &[(&str, &str)]) -> Vec<String> {
    match parse_both((&edit(NODE, edits), "node.yaml"), (RESOURCES, "resources.yaml")) {
        Ok((node, resources)) => sentences(node.warnings.and(resources.warnings).findings()),
        Err(errors) => panic!("the edited node settings should be accepted:\n{errors}"),
    }
}
