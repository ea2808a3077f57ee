//! Each rule: the tutorial's files with one thing changed, and the message that comes of it.

mod combinations;
mod connectivity;
mod dual_stack;
mod evolution;
mod files;
mod forwarding;
mod functions;
mod groups;
mod health_checks;
mod inventory;
mod listeners;
mod lists_and_policies;
mod members;
mod node;
mod quotas;
mod resources;
mod servers;
mod sticky_session;

use super::{ConfigErrors, Finding, Parsed, parse_both, parse_node, parse_resources};
use crate::model::{Resources, ServerGroup, ServerGroupName};

/// The tutorial's files, valid and without warnings.
pub(super) const NODE: &str = include_str!("node.yaml");
pub(super) const RESOURCES: &str = include_str!("resources.yaml");
/// Networks, machines and functions without groups and listeners; valid.
pub(super) const NETWORK: &str = include_str!("network.yaml");

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

/// Code, subject and value of each error.
fn told(errors: &ConfigErrors) -> Vec<String> {
    let parts = |finding: &Finding| {
        let code = finding.code.as_ref().expect("every error has a code");
        format!("{code} | {} | {}", finding.subject, finding.value)
    };
    errors.findings().iter().map(parts).collect()
}

/// `NETWORK` with these server groups and listeners, as flow mappings.
fn network_with(groups: &[&str], listeners: &[&str]) -> Result<Parsed<Resources>, ConfigErrors> {
    parse_resources(&network_text(groups, listeners), "r.yaml")
}

fn network_text(groups: &[&str], listeners: &[&str]) -> String {
    let list = |entries: &[&str]| entries.iter().map(|entry| format!("  - {entry}\n")).collect::<String>();
    let sections = [("server_groups", groups), ("listeners", listeners)];
    let sections = sections.into_iter().filter(|(_, entries)| !entries.is_empty());
    NETWORK.to_owned()
        + &sections.map(|(key, entries)| format!("{key}:\n{}", list(entries))).collect::<String>()
}

/// A group named "g1" of `group_type` in `vpc1` with checks on and `settings`, as YAML.
fn group_yaml(group_type: &str, settings: &str) -> String {
    let of_type = match group_type {
        "Fc" => "",
        _ => ", vpc: vpc1, health_check: {enabled: true}",
    };
    format!("{{name: g1, type: {group_type}{of_type}, {settings}}}")
}

/// The group of [`group_yaml`].
#[track_caller]
fn group(group_type: &str, settings: &str) -> ServerGroup {
    match network_with(&[&group_yaml(group_type, settings)], &[]) {
        Ok(parsed) => parsed.value.server_groups[&ServerGroupName::new("g1")].clone(),
        Err(errors) => panic!("{settings} should be accepted:\n{errors}"),
    }
}

/// Errors of the group of [`group_yaml`].
#[track_caller]
fn group_errors(group_type: &str, settings: &str) -> Vec<String> {
    match network_with(&[&group_yaml(group_type, settings)], &[]) {
        Ok(_) => panic!("{settings} should be refused"),
        Err(errors) => told(&errors),
    }
}

/// Warnings of the group of [`group_yaml`] and of nothing else.
#[track_caller]
fn group_warnings(group_type: &str, settings: &str) -> Vec<String> {
    match network_with(&[&group_yaml(group_type, settings)], &[]) {
        Ok(parsed) => {
            sentences(parsed.warnings.findings()).into_iter().filter(|line| line.contains("\"g1\"")).collect()
        }
        Err(errors) => panic!("{settings} should be accepted:\n{errors}"),
    }
}
