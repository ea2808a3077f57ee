//! Configuration files → model, every error at once.
//!
//! Two stages. The file as written becomes a tree with positions and then plain structs, where unknown settings and
//! wrong types are found. Those are resolved to the model, whose types cannot be wrong. A bad entry is left out and
//! never hides another; only a YAML syntax error stands alone, since nothing after it can be trusted.
//!
//! Absent here: reading files, and any state of the running program.

mod certificates;
mod changes;
mod code;
mod decode;
pub mod edit;
mod error;
mod evolution;
mod file;
mod resolve;
mod stale;
mod tree;

#[cfg(test)]
mod tests;

pub use certificates::{
    CertificateChange, CertificateEdit, Held, change_certificate, check_certificates, missing_certificates,
    unchecked_certificates, users,
};
pub use changes::{Change, ChangeKind, changes};
pub use code::{ErrorCode, ErrorFamily};
pub use error::{ConfigErrors, Finding, Place, Warnings};
pub use evolution::check_changes;
pub use stale::{StaleAddress, stale_inventory_addresses};

use crate::model::{Node, Resources};
use ErrorFamily::{IllegalParam, MissingParam};
use decode::{Decode, Entry, Report, Slot};
use file::{NodeFile, ResourcesFile};
use resolve::{Checks, Places};
use tree::Value;

/// A valid configuration, with its warnings and where each thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The model.
    pub value: T,
    /// What is allowed but probably not wanted.
    pub warnings: Warnings,
    places: Places,
}

/// The node settings in `text`, YAML; `file` names it in messages.
pub fn parse_node(text: &str, file: &str) -> Result<Parsed<Node>, ConfigErrors> {
    let (parsed, errors) = read_node(text, file);
    finish(parsed, errors)
}

/// The resources in `text`, YAML; `file` names it in messages. Whether a node can serve them is
/// [`parse_resources_for`]'s and [`check_together`]'s to say.
pub fn parse_resources(text: &str, file: &str) -> Result<Parsed<Resources>, ConfigErrors> {
    let (parsed, errors) = read_resources(text, file);
    finish(parsed, errors)
}

/// The resources in `text`, for `node`: all errors of [`parse_resources`] and [`check_together`] at once, and the
/// warnings of both.
pub fn parse_resources_for(
    node: &Parsed<Node>,
    text: &str,
    file: &str,
) -> Result<Parsed<Resources>, ConfigErrors> {
    parse_for(node, None, text, file)
}

/// [`parse_resources_for`] with all errors and warnings of [`check_certificates`] too.
pub fn parse_resources_with(
    node: &Parsed<Node>,
    held: Held<'_>,
    text: &str,
    file: &str,
) -> Result<Parsed<Resources>, ConfigErrors> {
    parse_for(node, Some(held), text, file)
}

fn parse_for(
    node: &Parsed<Node>,
    held: Option<Held<'_>>,
    text: &str,
    file: &str,
) -> Result<Parsed<Resources>, ConfigErrors> {
    let (parsed, mut errors) = read_resources(text, file);
    let Some(mut parsed) = parsed else { return finish(None, errors) };
    let mut checks = Checks::new([&parsed.places, &node.places]);
    resolve::check_together(&node.value, &parsed.value, &mut checks);
    if let Some(held) = held {
        certificates::check_named(&parsed.value, held, &mut checks);
    }
    let Checks { errors: mut of_both, warnings, .. } = checks;
    errors.append(&mut of_both);
    parsed.warnings = parsed.warnings.and(Warnings::new(warnings));
    finish(Some(parsed), errors)
}

/// Both files: every error of either and of the two together.
pub fn parse_both(
    (node_text, node_file): (&str, &str),
    (resources_text, resources_file): (&str, &str),
) -> Result<(Parsed<Node>, Parsed<Resources>), ConfigErrors> {
    let (node, node_errors) = read_node(node_text, node_file);
    let Some(node) = node else {
        let of_node = ConfigErrors::new(node_errors);
        let of_resources = parse_resources(resources_text, resources_file).err();
        return Err(join(of_node, of_resources).expect("a node that cannot be made out has errors"));
    };
    let resources = parse_resources_for(&node, resources_text, resources_file);
    match (ConfigErrors::new(node_errors), resources) {
        (None, Ok(resources)) => Ok((node, resources)),
        (of_node, resources) => {
            Err(join(of_node, resources.err()).expect("one of them is an error in this arm"))
        }
    }
}

/// Rules between a node and the resources it serves: warnings, or every error.
pub fn check_together(node: &Parsed<Node>, resources: &Parsed<Resources>) -> Result<Warnings, ConfigErrors> {
    let mut checks = Checks::new([&node.places, &resources.places]);
    resolve::check_together(&node.value, &resources.value, &mut checks);
    match ConfigErrors::new(checks.errors) {
        Some(errors) => Err(errors),
        None => Ok(Warnings::new(checks.warnings)),
    }
}

/// Whether `text` holds node settings rather than resources, by its keys; `None` if neither or no YAML.
pub fn is_node(text: &str) -> Option<bool> {
    let Value::Mapping(mapping) = tree::parse(text).ok()?.value else { return None };
    let count = |keys: &[&str]| mapping.iter().filter(|(key, _)| keys.contains(&key.value.as_str())).count();
    match (count(NodeFile::KEYS), count(ResourcesFile::KEYS)) {
        (of_node, of_resources) if of_node > of_resources => Some(true),
        (of_node, of_resources) if of_resources > of_node => Some(false),
        _ => None,
    }
}

fn join(a: Option<ConfigErrors>, b: Option<ConfigErrors>) -> Option<ConfigErrors> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.and(b)),
        (a, b) => a.or(b),
    }
}

/// `parsed` if there are no errors. Nothing to parse means that there are some.
fn finish<T>(parsed: Option<Parsed<T>>, errors: Vec<Finding>) -> Result<Parsed<T>, ConfigErrors> {
    match ConfigErrors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(parsed.expect("what cannot be made out was reported")),
    }
}

fn read_node(text: &str, file: &str) -> (Option<Parsed<Node>>, Vec<Finding>) {
    read(text, file, |file: NodeFile, places, report| resolve::resolve_node(&file, places, report))
}

fn read_resources(text: &str, file: &str) -> (Option<Parsed<Resources>>, Vec<Finding>) {
    read(text, file, |file: ResourcesFile, places, report| {
        Some(resolve::resolve_resources(&file, places, report))
    })
}

/// What could be made of `text`, and the errors.
fn read<F: Decode, T>(
    text: &str,
    file: &str,
    resolve: impl FnOnce(F, &mut Places, &mut Report<'_>) -> Option<T>,
) -> (Option<Parsed<T>>, Vec<Finding>) {
    let mut report = Report::new(text, file);
    let tree = match tree::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            let at = error.location.unwrap_or(serde_saphyr::Location::UNKNOWN);
            report.error(IllegalParam.of("Syntax"), at, "", "", error.message, error::SYNTAX_REMEDY);
            return (None, report.errors);
        }
    };
    // A text that was cut off must not remove everything.
    if tree.value == Value::Null {
        let remedy = "write the whole file; to have no resources at all, write `listeners: []`";
        report.error(MissingParam.of("Listeners"), tree.referenced, "", "", "the file is empty", remedy);
        return (None, report.errors);
    }
    let mut places = Places::new(report.place(tree.referenced));
    let slot = Slot { subject: "", names: &[], key: "", number: None };
    let value = F::decode(&tree, slot, &mut report).and_then(|file| resolve(file, &mut places, &mut report));
    let warnings = Warnings::new(report.warnings);
    (value.map(|value| Parsed { value, warnings, places }), report.errors)
}
