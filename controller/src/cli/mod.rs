//! The command line: one file for each command.

mod apply;
mod certificate;
mod check;
mod cookie_key;
mod describe;
mod diff;
mod edit;
mod explain;
mod get;
mod health_check_template;
mod listener;
mod rollback;
mod run;
mod server;
mod server_group;
mod status;
mod table;
mod unload;

use run::RunArgs;
use unload::UnloadArgs;

use crate::api::client::{Client, ClientError};
use crate::api::{Request, Response};
use crate::config::ConfigErrors;
use crate::config::edit::Remark;
use crate::run::RunError;
use clap::{Args, Parser, Subcommand};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a wrong configuration; of wrong arguments too, which clap decides.
const EXIT_CONFIG: u8 = 2;
/// Exit code of everything else that goes wrong.
const EXIT_FAILURE: u8 = 1;

/// An application load balancer for Linux hosts, with servers in other regions.
#[derive(Debug, Parser)]
#[command(
    name = "causeway",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 what was asked for is wrong, and nothing was changed.\n\n\
                  Example:\n  causeway check node.yaml resources.yaml && causeway apply -f resources.yaml"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Check(check::CheckArgs),
    Apply(apply::ApplyArgs),
    Diff(diff::DiffArgs),
    Get(get::GetArgs),
    History(get::HistoryArgs),
    Rollback(rollback::RollbackArgs),
    Describe(describe::DescribeArgs),
    Explain(explain::ExplainArgs),
    Server(server::ServerArgs),
    ServerGroup(server_group::ServerGroupArgs),
    Listener(listener::ListenerArgs),
    Certificate(certificate::CertificateArgs),
    CookieKey(cookie_key::CookieKeyArgs),
    HealthCheckTemplate(health_check_template::HealthCheckTemplateArgs),
    Status(status::StatusArgs),
    Unload(UnloadArgs),
}

/// How to reach the running controller.
#[derive(Debug, Args)]
struct Connection {
    /// Socket of the running causeway: `api_socket` of its node settings
    #[arg(long, env = "CAUSEWAY_SOCKET", value_name = "PATH", default_value = "/run/causeway/api.sock")]
    socket: PathBuf,
}

impl Connection {
    /// The answer to `request`; what was refused or failed is an error.
    fn ask(&self, request: &Request) -> Result<Response, CliError> {
        match Client::connect(&self.socket)?.call(request)? {
            Response::Refused { errors } => Err(CliError::Config(errors)),
            Response::Denied { denials } => Err(CliError::Denied(denials)),
            Response::Failed { message } => Err(CliError::Failed(message)),
            response => Ok(response),
        }
    }
}

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(ConfigErrors),
    /// The configuration is wrong, and standard output says why.
    #[error("the configuration is wrong")]
    ConfigPrinted,
    /// A change of what is in force is wrong.
    #[error("the change was refused")]
    Denied(Vec<Remark>),
    /// A file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nothing can be written to standard output.
    #[error("write to standard output: {0}")]
    Write(io::Error),
    /// The running controller cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `run` or `unload` gave up.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The running controller could not do it.
    #[error("{0}")]
    Failed(String),
    /// The running controller answered something else than was asked.
    #[error(
        "causeway gave an answer that does not fit the question; use the `causeway` of the release that runs"
    )]
    UnexpectedAnswer,
    /// A file is neither node settings nor resources.
    #[error(
        "{path}: cannot tell whether these are node settings or resources; say so with --node FILE or --resources FILE"
    )]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::ConfigPrinted
            | Self::Denied(_)
            | Self::Run(RunError::Config(_) | RunError::StaleRevision { .. }) => EXIT_CONFIG,
            _ => EXIT_FAILURE,
        }
    }

    /// For a person at a terminal.
    fn render(&self) -> String {
        match self {
            Self::Config(errors) | Self::Run(RunError::Config(errors)) => errors.render(),
            Self::Denied(denials) => edit::render_denials(denials),
            Self::ConfigPrinted => String::new(),
            other => format!("error: {other}\n"),
        }
    }
}

/// Reads the arguments of this process and does what they say.
pub fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error.render());
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<(), CliError> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Unload(arguments) => unload::unload(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Apply(arguments) => apply::apply(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Get(arguments) => get::get(&arguments),
        Command::History(arguments) => get::history(&arguments),
        Command::Rollback(arguments) => rollback::rollback(&arguments),
        Command::Describe(arguments) => describe::describe(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Server(arguments) => server::server(&arguments),
        Command::HealthCheckTemplate(arguments) => health_check_template::health_check_template(&arguments),
        Command::Certificate(arguments) => certificate::certificate(&arguments),
        Command::CookieKey(arguments) => cookie_key::cookie_key(&arguments),
        Command::Listener(arguments) => listener::listener(&arguments),
        Command::ServerGroup(arguments) => server_group::server_group(&arguments),
        Command::Status(arguments) => status::status(&arguments),
    }
}

/// The text of a file, or of standard input for `-`, and the name for messages about it.
fn read_file(path: &Path) -> Result<(String, String), CliError> {
    let read_error = |source| CliError::Read { path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(read_error)?;
        return Ok((text, "standard input".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(read_error)?;
    Ok((text, path.display().to_string()))
}

/// Prints to standard output; a reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(CliError::Write),
    }
}

/// Prints to standard error, where nobody could be told of a failure.
fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data with string keys") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_fit_together() {
        Arguments::command().debug_assert();
        RunArgs::augment_args(clap::Command::new("run")).debug_assert();
        UnloadArgs::augment_args(clap::Command::new("unload")).debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let arguments = Arguments::command();
        for command in
            arguments.get_subcommands().flat_map(|one| std::iter::once(one).chain(one.get_subcommands()))
        {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has none", command.get_name());
        }
        for command in [
            RunArgs::augment_args(clap::Command::new("run")),
            UnloadArgs::augment_args(clap::Command::new("unload")),
        ] {
            assert!(command.get_after_help().unwrap().to_string().contains("Example"));
        }
    }

    #[test]
    fn a_wrong_configuration_has_its_own_exit_code() {
        let errors = crate::config::parse_node("", "n.yaml").unwrap_err();
        assert_eq!(CliError::Config(errors).exit_code(), 2);
        assert_eq!(CliError::UnexpectedAnswer.exit_code(), 1);
    }
}
