//! `causeway check`: validate files without a running controller.

use super::{CliError, print, print_error, read_file, to_json};
use crate::config::{self, ConfigErrors, Parsed, Warnings};
use crate::model::Resources;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Validate node settings and resources, and show every error at once
#[derive(Debug, Args)]
#[command(after_help = "Given both, they are checked against each other too.\n\n\
                        Examples:\n  causeway check node.yaml resources.yaml\n  \
                        causeway check --resources new.yaml -o json")]
pub(super) struct CheckArgs {
    /// Files of either kind, told apart by their settings; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["node", "resources"])]
    files: Vec<PathBuf>,
    /// Node settings
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Resources; may be repeated, each file is checked by itself
    #[arg(long, value_name = "FILE")]
    resources: Vec<PathBuf>,
    /// How findings are shown
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text)]
    output: CheckOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckOutput {
    /// For people
    Text,
    /// One JSON object with `errors` and `warnings`
    Json,
}

/// A file and its text.
struct Source {
    text: String,
    name: String,
}

pub(super) fn check(arguments: &CheckArgs) -> Result<(), CliError> {
    let (nodes, resources) = sort_files(arguments)?;
    let (errors, warnings) = check_all(&nodes, &resources);
    if arguments.output == CheckOutput::Json {
        let errors_or_none = errors.as_ref().map_or(&[][..], ConfigErrors::findings);
        print(&to_json(&serde_json::json!({ "errors": errors_or_none, "warnings": warnings })))?;
        return errors.map_or(Ok(()), |_| Err(CliError::ConfigPrinted));
    }
    print_error(&warnings.render());
    if let Some(errors) = errors {
        return Err(CliError::Config(errors));
    }
    let names: Vec<&str> = nodes.iter().chain(&resources).map(|source| source.name.as_str()).collect();
    print(&format!("{}: ok\n", names.join(", ")))
}

/// The files named, node settings first.
fn sort_files(arguments: &CheckArgs) -> Result<(Vec<Source>, Vec<Source>), CliError> {
    let read = |path: &Path| read_file(path).map(|(text, name)| Source { text, name });
    let mut nodes = arguments.node.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut resources = arguments.resources.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    for path in &arguments.files {
        let source = read(path)?;
        match config::is_node(&source.text) {
            Some(true) => nodes.push(source),
            Some(false) => resources.push(source),
            None => {
                // What is no YAML is wrong either way; its syntax error says more than "unknown".
                if let Some(errors) = syntax_error(&source) {
                    return Err(CliError::Config(errors));
                }
                return Err(CliError::UnknownFile { path: path.clone() });
            }
        }
    }
    Ok((nodes, resources))
}

fn syntax_error(source: &Source) -> Option<ConfigErrors> {
    config::parse_resources(&source.text, &source.name).err().filter(ConfigErrors::is_syntax)
}

/// Every finding about the files, each by itself and, where there is one node, with it.
fn check_all(nodes: &[Source], resources: &[Source]) -> (Option<ConfigErrors>, Warnings) {
    let mut errors: Option<ConfigErrors> = None;
    let mut warnings = Warnings::default();
    let mut add = |result: Result<Warnings, ConfigErrors>| match result {
        Ok(more) => warnings = std::mem::take(&mut warnings).and(more),
        Err(more) => {
            errors = Some(match errors.take() {
                Some(errors) => errors.and(more),
                None => more,
            });
        }
    };
    if let ([node], [resources]) = (nodes, resources) {
        let both = config::parse_both((&node.text, &node.name), (&resources.text, &resources.name));
        add(both.map(|(node, resources)| node.warnings.and(with_unchecked(resources))));
        return (errors, warnings);
    }
    let parsed: Vec<_> = nodes.iter().map(|node| config::parse_node(&node.text, &node.name)).collect();
    let only_node = match parsed.as_slice() {
        [Ok(node)] => Some(node.clone()),
        _ => None,
    };
    for node in parsed {
        add(node.map(|node| node.warnings));
    }
    for source in resources {
        let parsed = match &only_node {
            Some(node) => config::parse_resources_for(node, &source.text, &source.name),
            None => config::parse_resources(&source.text, &source.name),
        };
        add(parsed.map(with_unchecked));
    }
    (errors, warnings)
}

/// The warnings, and that certificates were not looked for: only the running causeway knows them.
fn with_unchecked(resources: Parsed<Resources>) -> Warnings {
    let unchecked = config::unchecked_certificates(&resources);
    resources.warnings.and(unchecked)
}
