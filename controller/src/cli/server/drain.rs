//! `causeway server drain`: weight 0, wait, remove (SG-162).

use super::super::edit::carry_out;
use super::super::{CliError, Connection, get, print};
use crate::api::{HealthStatus, Kind, ServerView, View};
use crate::config::edit::{Operation, ServerSettings, names_server};
use clap::Args;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// In-flight work is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Give servers weight 0 and wait until nothing is in flight to them
#[derive(Debug, Args)]
#[command(
    after_help = "New requests and flows go to other servers at once; what is in flight may finish. Interrupting this \
                        command leaves the weight at 0. Without --remove it exits 1 if the time is over before nothing is \
                        in flight.\n\n\
                        Examples:\n  causeway server drain web 172.16.1.20:80 --remove\n  \
                        causeway server drain web 172.16.1.20:80 --timeout 60"
)]
pub(super) struct DrainArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Servers, up to 40
    #[arg(value_name = "SERVER", required = true)]
    servers: Vec<String>,
    /// Wait no longer than this
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    timeout: u64,
    /// Then remove them from the group
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn drain(arguments: &DrainArgs) -> Result<(), CliError> {
    let DrainArgs { group, servers, timeout, remove, connection } = arguments;
    let settings =
        |server: &String| ServerSettings { server: server.clone(), weight: Some(0), description: None };
    let servers_at_zero = servers.iter().map(settings).collect();
    carry_out(connection, Operation::SetServers { group: group.clone(), servers: servers_at_zero })?;

    let began = Instant::now();
    let mut progress = Progress::default();
    let left = loop {
        let View::Servers(views) = get::ask(connection, Kind::Servers, Some(group))? else {
            return Err(CliError::UnexpectedAnswer);
        };
        let (lines, left) = progress.look(&views, servers, began.elapsed());
        print(&lines)?;
        if left == 0 || began.elapsed() >= Duration::from_secs(*timeout) {
            break left;
        }
        thread::sleep(LOOK_EVERY);
    };
    if left > 0 && !remove {
        return Err(CliError::Failed(format!(
            "after {timeout} s, {left} are still in flight; the weight stays 0: wait longer with the same command, or \
             remove the servers, which drains or cuts what is left as the group says"
        )));
    }
    if left > 0 {
        print(&format!(
            "{timeout} s are over; {left} still in flight are left to the group's connection draining\n"
        ))?;
    }
    if *remove {
        let servers = servers.clone();
        return carry_out(connection, Operation::RemoveServers { group: group.clone(), servers });
    }
    Ok(())
}

/// What was said last of each server.
#[derive(Debug, Default)]
struct Progress(BTreeMap<String, u64>);

impl Progress {
    /// A line for each server whose figure changed, and the sum of all figures.
    fn look(&mut self, views: &[ServerView], names: &[String], elapsed: Duration) -> (String, u64) {
        let mut lines = String::new();
        let mut sum = 0;
        let is_meant = |view: &&ServerView| {
            view.health != HealthStatus::Removing
                && names.iter().any(|name| names_server(name, view.id.as_deref(), view.address))
        };
        for view in views.iter().filter(is_meant) {
            let active = view.counters.active;
            sum += active;
            let name = get::servers::name(view);
            if self.0.insert(name.clone(), active) == Some(active) {
                continue;
            }
            let after = get::duration(elapsed.as_secs());
            lines.push_str(&match active {
                0 => format!("{name}: nothing in flight after {after}\n"),
                active => format!("{name}: {active} in flight after {after}\n"),
            });
        }
        (lines, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::get::tests::server;

    #[test]
    fn says_what_is_in_flight_only_when_that_changed() {
        let mut progress = Progress::default();
        let names = ["172.16.1.20".to_owned(), "172.16.1.21:80".to_owned()];
        let views = |first: u64, second: u64| {
            let mut views = ["172.16.1.20:80", "172.16.1.21:80", "172.16.1.22:80"]
                .map(|address| server(address, HealthStatus::Unused));
            views[0].counters.active = first;
            views[1].counters.active = second;
            views
        };
        let mut look =
            |first, second, secs| progress.look(&views(first, second), &names, Duration::from_secs(secs));
        assert_eq!(
            look(3, 1, 0),
            ("172.16.1.20:80: 3 in flight after 0s\n172.16.1.21:80: 1 in flight after 0s\n".to_owned(), 4)
        );
        assert_eq!(look(3, 1, 1), (String::new(), 4));
        assert_eq!(look(3, 0, 2), ("172.16.1.21:80: nothing in flight after 2s\n".to_owned(), 3));
        assert_eq!(look(0, 0, 61), ("172.16.1.20:80: nothing in flight after 1m01s\n".to_owned(), 0));
    }

    #[test]
    fn does_not_wait_for_an_earlier_stay_of_the_server() {
        let leaving = server("172.16.1.20:80", HealthStatus::Removing);
        assert!(leaving.counters.active > 0);
        let names = ["172.16.1.20:80".to_owned()];
        assert_eq!(Progress::default().look(&[leaving], &names, Duration::ZERO), (String::new(), 0));
    }
}
