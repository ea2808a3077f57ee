//! `causeway certificate`: certificates that HTTPS and QUIC listeners show.

use super::get::{self, GetOutput};
use super::{CliError, Connection, print, print_error};
use crate::api::{CertificateView, Kind, Request, Response};
use crate::certificate::{KeyText, date};
use crate::config::CertificateChange;
use crate::config::edit::Remark;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Add, list, renew or remove certificates of HTTPS and QUIC listeners
#[derive(Debug, Args)]
#[command(
    after_help = "Listeners name certificates (`certificates: [www]`), the default one first; the others are chosen by the \
                  name that the client asks for. They and their keys are kept in `state_dir`, not in the resources, and \
                  are never shown.\n\n\
                  Examples:\n  causeway certificate add www --certificate fullchain.pem --key privkey.pem\n  \
                  causeway certificate list\n  \
                  causeway certificate renew www --certificate fullchain.pem --key privkey.pem"
)]
pub(super) struct CertificateArgs {
    #[command(subcommand)]
    command: CertificateCommand,
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// Keep a certificate under a new name, for listeners to name
    #[command(after_help = "Returns when it is kept for good; listeners that waited for it serve it.\n\n\
                      Example:\n  causeway certificate add www --certificate fullchain.pem --key privkey.pem")]
    Add(FilesArgs),
    List(ListArgs),
    /// Replace a certificate: the next handshake gets the new one, open connections go on
    #[command(after_help = "Returns when every worker serves it.\n\n\
                      Example:\n  causeway certificate renew www --certificate fullchain.pem --key privkey.pem")]
    Renew(FilesArgs),
    Remove(RemoveArgs),
}

/// A name and two files.
#[derive(Debug, Args)]
struct FilesArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// PEM: the server's certificate, then the one that issued it, and so on
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// PEM: its private key (RSA, ECDSA or Ed25519), not encrypted
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Take it although it has expired
    #[arg(long)]
    allow_expired: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Show certificates: names, end, key, and the listeners that name them
#[derive(Debug, Args)]
#[command(after_help = "The same as `causeway get certificates`.\n\n\
                        Examples:\n  causeway certificate list\n  causeway certificate list -o wide")]
struct ListArgs {
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = GetOutput::Table)]
    output: GetOutput,
    #[command(flatten)]
    connection: Connection,
}

/// Remove a certificate that no listener names
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway certificate remove old")]
struct RemoveArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn certificate(arguments: &CertificateArgs) -> Result<(), CliError> {
    match &arguments.command {
        CertificateCommand::List(ListArgs { output, connection }) => {
            get::print_kind(connection, Kind::Certificates, *output)
        }
        CertificateCommand::Add(files) => {
            let (name, allow_expired) = (files.name.clone(), files.allow_expired);
            let (certificate, key) = read(files)?;
            let change = CertificateChange::Add { name, certificate, key, allow_expired };
            keep(&files.connection, change, "kept")
        }
        CertificateCommand::Renew(files) => {
            let (name, allow_expired) = (files.name.clone(), files.allow_expired);
            let (certificate, key) = read(files)?;
            let change = CertificateChange::Renew { name, certificate, key, allow_expired };
            keep(&files.connection, change, "renewed")
        }
        CertificateCommand::Remove(RemoveArgs { name, connection }) => {
            let change = CertificateChange::Remove { name: name.clone() };
            match connection.ask(&Request::Certificate { change })? {
                Response::CertificateRemoved => print(&format!("certificate \"{name}\" is removed\n")),
                _ => Err(CliError::UnexpectedAnswer),
            }
        }
    }
}

/// The texts of the files. What is no text cannot be PEM, which the controller explains.
fn read(files: &FilesArgs) -> Result<(String, KeyText), CliError> {
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(CliError::Read { path: path.to_owned(), source }),
    };
    Ok((read(&files.certificate)?, KeyText::new(read(&files.key)?)))
}

fn keep(connection: &Connection, change: CertificateChange, done: &str) -> Result<(), CliError> {
    match connection.ask(&Request::Certificate { change })? {
        Response::CertificateKept { certificate, warnings } => {
            let warnings: String =
                warnings.iter().map(|warning: &Remark| format!("warning: {warning}\n")).collect();
            print_error(&warnings);
            print(&kept(&certificate, done))
        }
        _ => Err(CliError::UnexpectedAnswer),
    }
}

/// `certificate "www" is kept: www.example.com; RSA 2048; valid until 2027-01-01 (200 days)`.
fn kept(certificate: &CertificateView, done: &str) -> String {
    let CertificateView { name, names, key_type, not_after, days_left, listeners, .. } = certificate;
    let names = if names.is_empty() { "no names".to_owned() } else { names.join(", ") };
    let mut text = format!(
        "certificate \"{name}\" is {done}: {names}; {key_type}; valid until {} ({days_left} days)\n",
        date(*not_after)
    );
    if !listeners.is_empty() {
        text.push_str(&format!("served by {}\n", listeners.join(", ")));
    }
    text
}
