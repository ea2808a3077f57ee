//! `causeway get`: how things stand.

mod certificates;
pub(super) mod groups;
mod history;
pub(super) mod network;
mod rules;
pub(super) mod servers;

use super::{CliError, Connection, print, to_json};
use crate::api::{Kind, Request, Response, View};
use clap::{Args, ValueEnum};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tables of the default output fit this.
const TERMINAL_COLUMNS: usize = 80;

/// Show how things stand: groups, servers, listeners, revisions...
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  causeway get server-groups\n  causeway get servers web -o wide\n  \
                        causeway get next-hops -o json\n  causeway get resources > resources.yaml")]
pub(super) struct GetArgs {
    /// What to show
    #[arg(value_enum)]
    kind: Kind,
    /// Only the one of this name
    name: Option<String>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = GetOutput::Table)]
    output: GetOutput,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GetOutput {
    /// What matters most, in 80 columns
    Table,
    /// Everything there is, in columns as wide as need be
    Wide,
    /// For programs
    Json,
    /// The same as YAML
    Yaml,
}

/// Show the last revisions of the resources and what each changed, or one with all its changes
#[derive(Debug, Args)]
#[command(
    after_help = "The revision in force is marked with `*`; `causeway get resources REVISION` shows its text.\n\n\
                        Examples:\n  causeway history\n  causeway history 7"
)]
pub(super) struct HistoryArgs {
    /// Only this revision
    revision: Option<String>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = GetOutput::Table)]
    output: GetOutput,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn get(arguments: &GetArgs) -> Result<(), CliError> {
    let view = ask(&arguments.connection, arguments.kind, arguments.name.as_deref())?;
    print(&show(&view, arguments.output, now()))
}

/// Prints all things of a kind.
pub(super) fn print_kind(connection: &Connection, kind: Kind, output: GetOutput) -> Result<(), CliError> {
    print(&show(&ask(connection, kind, None)?, output, now()))
}

pub(super) fn history(arguments: &HistoryArgs) -> Result<(), CliError> {
    let view = ask(&arguments.connection, Kind::History, arguments.revision.as_deref())?;
    print(&show(&view, arguments.output, now()))
}

/// The things of a kind, or the one named.
pub(super) fn ask(connection: &Connection, kind: Kind, name: Option<&str>) -> Result<View, CliError> {
    match connection.ask(&Request::Get { kind, name: name.map(str::to_owned) })? {
        Response::View { view } if view.kind() == kind => Ok(view),
        _ => Err(CliError::UnexpectedAnswer),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The items of a view in another form, without the view around them.
macro_rules! items {
    ($view:expr, $write:path) => {
        match $view {
            View::LoadBalancers(items) => $write(items),
            View::Listeners(items) => $write(items),
            View::Rules(items) => $write(items),
            View::Acls(items) => $write(items),
            View::SecurityPolicies(items) => $write(items),
            View::ServerGroups(items) => $write(items),
            View::Servers(items) => $write(items),
            View::Routes(items) => $write(items),
            View::NextHops(items) => $write(items),
            View::HealthCheckTemplates(items) => $write(items),
            View::Certificates(items) => $write(items),
            View::Inventory(items) => $write(items),
            View::Events(items) => $write(items),
            View::Resources(item) => $write(item),
            View::History(items) => $write(items),
        }
    };
}
fn show(view: &View, output: GetOutput, now: u64) -> String {
    let is_wide = output == GetOutput::Wide;
    let width = (!is_wide).then_some(TERMINAL_COLUMNS);
    match (output, view) {
        (GetOutput::Json, view) => items!(view, to_json),
        // Ready for `apply`.
        (_, View::Resources(resources)) => resources.text.clone(),
        (GetOutput::Yaml, view) => items!(view, to_yaml),
        (_, View::LoadBalancers(items)) => network::load_balancers(items, is_wide, width),
        (_, View::Listeners(items)) if is_wide => network::listeners_wide(items),
        (_, View::Listeners(items)) => network::listeners(items, width),
        (_, View::Rules(items)) => rules::rules(items, width),
        (_, View::Acls(items)) => rules::acls(items, width),
        (_, View::SecurityPolicies(items)) => rules::security_policies(items, width),
        (_, View::ServerGroups(items)) if is_wide => groups::server_groups_wide(items),
        (_, View::ServerGroups(items)) => groups::server_groups(items, width),
        (_, View::Servers(items)) if is_wide => servers::servers_wide(items),
        (_, View::Servers(items)) => servers::servers(items, width),
        (_, View::Routes(items)) => network::routes(items, width),
        (_, View::NextHops(items)) if is_wide => network::next_hops_wide(items),
        (_, View::NextHops(items)) => network::next_hops(items, width),
        (_, View::HealthCheckTemplates(items)) => groups::templates(items, width),
        (_, View::Certificates(items)) if is_wide => certificates::certificates_wide(items),
        (_, View::Certificates(items)) => certificates::certificates(items, width),
        (_, View::Inventory(items)) if is_wide => groups::inventory_wide(items),
        (_, View::Inventory(items)) => groups::inventory(items, width),
        (_, View::Events(items)) => servers::events(items, width),
        (_, View::History(items)) => history::history(items, now, width),
    }
}

fn to_yaml(value: &impl serde::Serialize) -> String {
    serde_saphyr::to_string(value).expect("plain data with string keys")
}

fn show_optional(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// `42s`, `3m12s`, `5h07m`, `12d03h`.
pub(in crate::cli) fn duration(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{minutes}m{:02}s", secs % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests;
