//! End to end: the real program, real nginx, real clients, in the tutorial's two regions.
//!
//! Every test has a lab of its own (1.5 s), so that none depends on another. Run with `--test-threads=1`: times and
//! distributions are measured. What a failed test leaves behind is in `lab-logs/`.

mod aborts;
mod bad_input;
mod certificates;
mod client;
mod clients;
mod datapath;
mod distribution;
mod drain;
mod draining;
mod failure;
mod group_edits;
mod group_types;
mod groups;
mod grpc;
mod health_checks;
mod http3;
mod http_errors;
mod l4;
mod lifecycle;
mod listeners;
mod memory;
mod observe;
mod rules;
mod sessions;
mod shares;
mod slow_start;
mod stage;
mod status_codes;
mod transfer;
mod web_clients;
mod websocket;
mod zones;

use causeway_lab::{ECS01_ADDRESS, ECS02_ADDRESS, Lab, LabOptions, Variant, requirement, resources_yaml};
use std::net::Ipv4Addr;
use std::time::Instant;
use tests::balancer::edited;
use tests::load::Records;

/// Name of the HTTP group of the tutorial's resources.
const WEB: &str = "web";
/// Name of the TCP group of the tutorial's resources.
const TCP_WEB: &str = "tcp-web";
/// ECS01 and ECS02.
const SERVERS: [Ipv4Addr; 2] = [ECS01_ADDRESS, ECS02_ADDRESS];

/// A lab for the test named `test`, or `None` if the test must be skipped, which has been said then.
fn lab(test: &str, id: &str) -> Option<Lab> {
    lab_with(test, LabOptions { id: id.into(), big_file_bytes: 0, ..LabOptions::default() })
}

/// As [`lab`], with these options.
fn lab_with(test: &str, options: LabOptions) -> Option<Lab> {
    requirement::root(test).then(|| Lab::up(options).expect("the lab stands"))
}

/// The tutorial's resources with checks of one second and two successes, for tests that do not measure detection.
fn fast_resources(variant: Variant) -> String {
    edited(
        &resources_yaml(variant),
        &[
            (
                "protocol: HTTP, path: /}",
                "protocol: HTTP, path: /, interval: 1, timeout: 1, healthy_threshold: 2}",
            ),
            ("protocol: TCP}", "protocol: TCP, interval: 1, timeout: 1, healthy_threshold: 2}"),
        ],
    )
}

/// Asserts that no request failed, but perhaps one that was under way while a server was stopped, between `from` and `to`:
/// a connection that was made and is reset before it is accepted is not tried again (LR-124).
#[track_caller]
fn assert_none_failed_but_by_stop(records: &Records, [from, to]: [Instant; 2]) {
    records.only(|record| record.ended() < from || record.began > to).assert_none_failed();
    let failed = records.failed();
    assert!(failed.len() <= 1, "{} failed while a server was stopped: {failed:?}", failed.len());
}
