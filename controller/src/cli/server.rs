//! `causeway server`: the servers of a group.

mod drain;

use super::edit::carry_out;
use super::{CliError, Connection, get, print};
use crate::api::{HealthStatus, Kind, View};
use crate::config::edit::{NewServer, Operation, ServerSettings};
use clap::{Args, Subcommand};

/// Add, remove, replace or change servers of a group
#[derive(Debug, Args)]
#[command(
    after_help = "A SERVER is named ADDRESS:PORT ([ADDRESS]:PORT for IPv6), or as in the inventory: ecs:ID:PORT, \
                  eni:ID:PORT, eci:ID:PORT (ID@ADDRESS for one of several addresses), or fc:ARN. Of a server that is in \
                  the group, the port may be left out where that is enough.\n\
                  Every change is all or nothing, answered when in force, and kept as a new revision, in which comments \
                  of the file applied before are lost.\n\n\
                  Examples:\n  causeway server add web 172.16.1.21:80 172.16.1.22:80\n  \
                  causeway server drain web 172.16.1.20:80 --remove"
)]
pub(super) struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    Add(AddArgs),
    Remove(RemoveArgs),
    Replace(ReplaceArgs),
    Set(SetArgs),
    Weight(WeightArgs),
    Drain(drain::DrainArgs),
}

/// Add up to 200 servers to a group
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  causeway server add web 172.16.1.21:80 172.16.1.22:80 --weight 50\n  \
                        causeway server add web 172.16.1.21 172.16.1.22 --port 8080\n  \
                        causeway server add web 192.168.1.21:80 --remote-ip\n  \
                        causeway server add shop ecs:i-web1:80 eni:eni-7@172.16.1.31:80")]
struct AddArgs {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    new: NewSettings,
    /// They lie in another network: reached by the VPC's routes (Ip groups)
    #[arg(long)]
    remote_ip: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A group and servers.
#[derive(Debug, Args)]
struct Servers {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Servers
    #[arg(value_name = "SERVER", required = true)]
    servers: Vec<String>,
}

/// What is the same for all servers that join.
#[derive(Debug, Args)]
struct NewSettings {
    /// Port of those named without one
    #[arg(long)]
    port: Option<u32>,
    /// Share of traffic of each, 0 to 100 [default: 100]
    #[arg(long)]
    weight: Option<u32>,
    /// Free text, 2 to 256 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl NewSettings {
    fn server(&self, name: &str, remote_ip: bool) -> NewServer {
        NewServer {
            server: name.to_owned(),
            port: self.port,
            weight: self.weight,
            remote_ip,
            description: self.description.clone(),
        }
    }
}

/// Remove up to 200 servers from a group; what is in flight to them drains as the group says
#[derive(Debug, Args)]
#[command(
    after_help = "With --all, every server of the group is removed, 200 at a time: each step is all or nothing.\n\n\
                        Examples:\n  causeway server remove web 172.16.1.21:80 172.16.1.22:80\n  \
                        causeway server remove old-web --all"
)]
struct RemoveArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Servers
    #[arg(value_name = "SERVER", required_unless_present = "all")]
    servers: Vec<String>,
    /// Remove every server of the group
    #[arg(long, conflicts_with = "servers")]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Add servers and remove others in one step
#[derive(Debug, Args)]
#[command(after_help = "Not for groups of type Fc, and not for remote servers to be added.\n\n\
                        Example:\n  causeway server replace web --add 172.16.1.31:80 172.16.1.32:80 --remove 172.16.1.21:80")]
struct ReplaceArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Servers to add, up to 200
    #[arg(long, value_name = "SERVER", num_args = 1.., required = true)]
    add: Vec<String>,
    /// Servers to remove, up to 200
    #[arg(long, value_name = "SERVER", num_args = 1.., required = true)]
    remove: Vec<String>,
    #[command(flatten)]
    new: NewSettings,
    #[command(flatten)]
    connection: Connection,
}

/// Give up to 40 servers of a group the same weight or description
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  causeway server set web 172.16.1.20:80 172.16.1.21:80 --weight 50\n  \
                        causeway server set web 172.16.1.20:80 --description 'rack 4'")]
struct SetArgs {
    #[command(flatten)]
    servers: Servers,
    /// Share of traffic of each, 0 to 100; 0 takes no new requests
    #[arg(long, required_unless_present = "description")]
    weight: Option<u32>,
    /// Free text, 2 to 256 characters; an empty one removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Give up to 40 servers of a group a weight each
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway server weight web 172.16.1.20:80=100 172.16.1.21:80=50")]
struct WeightArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Servers, each with its weight, 0 to 100
    #[arg(value_name = "SERVER=WEIGHT", required = true, value_parser = server_and_weight)]
    servers: Vec<(String, u32)>,
    #[command(flatten)]
    connection: Connection,
}

fn server_and_weight(text: &str) -> Result<(String, u32), String> {
    let (server, weight) =
        text.rsplit_once('=').ok_or("write a server and its weight, such as 172.16.1.20:80=50")?;
    let weight =
        weight.parse().map_err(|_| format!("\"{weight}\" is no weight; write a number from 0 to 100"))?;
    Ok((server.to_owned(), weight))
}

pub(super) fn server(arguments: &ServerArgs) -> Result<(), CliError> {
    match &arguments.command {
        ServerCommand::Add(arguments) => add(arguments),
        ServerCommand::Remove(arguments) => remove(arguments),
        ServerCommand::Replace(arguments) => replace(arguments),
        ServerCommand::Set(arguments) => set(arguments),
        ServerCommand::Weight(arguments) => set_weights(arguments),
        ServerCommand::Drain(arguments) => drain::drain(arguments),
    }
}

fn add(arguments: &AddArgs) -> Result<(), CliError> {
    let names = arguments.servers.servers.iter();
    let servers = names.map(|name| arguments.new.server(name, arguments.remote_ip)).collect();
    carry_out(
        &arguments.connection,
        Operation::AddServers { group: arguments.servers.group.clone(), servers },
    )
}

/// Servers removed in one step (SG-220).
const REMOVED_MAX: usize = 200;

fn remove(arguments: &RemoveArgs) -> Result<(), CliError> {
    let RemoveArgs { group, servers, all, connection } = arguments;
    if !all {
        let servers = servers.clone();
        return carry_out(connection, Operation::RemoveServers { group: group.clone(), servers });
    }
    let servers = members(connection, group)?;
    if servers.is_empty() {
        return print("the group has no servers\n");
    }
    servers.chunks(REMOVED_MAX).try_for_each(|servers| {
        carry_out(connection, Operation::RemoveServers { group: group.clone(), servers: servers.to_vec() })
    })
}

/// Every server of a group, by a name that fits no other.
fn members(connection: &Connection, group: &str) -> Result<Vec<String>, CliError> {
    let View::Servers(servers) = get::ask(connection, Kind::Servers, Some(group))? else {
        return Err(CliError::UnexpectedAnswer);
    };
    let members = servers.iter().filter(|server| server.health != HealthStatus::Removing);
    Ok(members.map(get::servers::name).collect())
}

fn replace(arguments: &ReplaceArgs) -> Result<(), CliError> {
    let operation = Operation::ReplaceServers {
        group: arguments.group.clone(),
        added: arguments.add.iter().map(|name| arguments.new.server(name, false)).collect(),
        removed: arguments.remove.clone(),
    };
    carry_out(&arguments.connection, operation)
}

fn set(arguments: &SetArgs) -> Result<(), CliError> {
    let settings = |server: &String| ServerSettings {
        server: server.clone(),
        weight: arguments.weight,
        description: arguments.description.clone(),
    };
    let operation = Operation::SetServers {
        group: arguments.servers.group.clone(),
        servers: arguments.servers.servers.iter().map(settings).collect(),
    };
    carry_out(&arguments.connection, operation)
}

fn set_weights(arguments: &WeightArgs) -> Result<(), CliError> {
    let settings = |(server, weight): &(String, u32)| ServerSettings {
        server: server.clone(),
        weight: Some(*weight),
        description: None,
    };
    let servers = arguments.servers.iter().map(settings).collect();
    carry_out(&arguments.connection, Operation::SetServers { group: arguments.group.clone(), servers })
}
