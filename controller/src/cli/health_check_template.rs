//! `causeway health-check-template`: reusable health checks.

use super::edit::carry_out;
use super::{CliError, Connection};
use crate::config::edit::Operation;
use clap::{Args, Subcommand};

/// Copy a health check template into a group, or delete templates
#[derive(Debug, Args)]
#[command(
    after_help = "Templates are written in the resources (`health_check_templates`). Applying one copies its values: \
                        later changes of the template do not reach the group.\n\n\
                        Example:\n  causeway health-check-template apply strict web"
)]
pub(super) struct HealthCheckTemplateArgs {
    #[command(subcommand)]
    command: HealthCheckTemplateCommand,
}

#[derive(Debug, Subcommand)]
enum HealthCheckTemplateCommand {
    Apply(ApplyArgs),
    Delete(DeleteArgs),
}

/// Give a group the health check of a template, in place of its own
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway health-check-template apply strict web")]
struct ApplyArgs {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    template: String,
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    connection: Connection,
}

/// Delete up to 10 templates; groups keep what was copied
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway health-check-template delete strict loose")]
struct DeleteArgs {
    /// Templates
    #[arg(value_name = "TEMPLATE", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn health_check_template(arguments: &HealthCheckTemplateArgs) -> Result<(), CliError> {
    match &arguments.command {
        HealthCheckTemplateCommand::Apply(ApplyArgs { template, group, connection }) => carry_out(
            connection,
            Operation::ApplyHealthCheckTemplate { template: template.clone(), group: group.clone() },
        ),
        HealthCheckTemplateCommand::Delete(DeleteArgs { names, connection }) => {
            carry_out(connection, Operation::DeleteHealthCheckTemplates { names: names.clone() })
        }
    }
}
