//! `causeway cookie-key`: the key that sticky cookies are sealed with.

use super::{CliError, Connection, print};
use crate::api::{Request, Response};
use clap::{Args, Subcommand};

/// Change the key that sticky cookies are sealed with
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway cookie-key rotate")]
pub(super) struct CookieKeyArgs {
    #[command(subcommand)]
    command: CookieKeyCommand,
}

#[derive(Debug, Subcommand)]
enum CookieKeyCommand {
    Rotate(RotateArgs),
}

/// Seal new cookies with a new key
#[derive(Debug, Args)]
#[command(after_help = "Cookies sealed with the two keys before it are still accepted; \
                        older ones no longer are, and their clients are given a server as new ones. To withdraw every \
                        cookie at once, rotate three times.\n\n\
                        Example:\n  causeway cookie-key rotate")]
struct RotateArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn cookie_key(arguments: &CookieKeyArgs) -> Result<(), CliError> {
    let CookieKeyCommand::Rotate(RotateArgs { connection }) = &arguments.command;
    match connection.ask(&Request::RotateCookieKey)? {
        Response::CookieKeyRotated => print(
            "sticky cookies are sealed with a new key; those of the two keys before are still accepted\n",
        ),
        _ => Err(CliError::UnexpectedAnswer),
    }
}
