//! Listeners stopped and started, and the access log moved away, while requests run.

use crate::client::{at, get};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{CLIENT, LabOptions, VIP_A, web_servers};
use std::fs;
use std::io;
use tests::balancer::{Balancer, PATIENCE};
use tests::load::Load;

// Holds LR-5, LR-142
#[test]
fn stopping_a_listener_and_rotating_the_log_disturb_no_request_of_the_others() {
    let test = "stopping_a_listener_and_rotating_the_log_disturb_no_request_of_the_others";
    let options = LabOptions {
        id: "e2elisteners".into(),
        extra_servers: web_servers(1, 0),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with(test, options) else { return };
    let text = resources(&[Group::web(&[FAST_CHECK], &[(ecs1(1), 100)])]);
    let balancer = Balancer::start_resources(&lab, &(text + &listener("other", "HTTP", 81, "web")));
    balancer.wait_until_healthy();
    let log = balancer.files().access_log;
    let rotated = log.with_extension("log.1");
    let ask = || lab.within(CLIENT, || get(at(VIP_A, 81))).expect("enter the client");

    let (records, ()) = Load::new((VIP_A, 80), 200.0).kept().run_while(&lab, |load| {
        load.wait_for(50);
        assert_eq!(ask().expect("it is served").status, 200);
        for _ in 0..2 {
            balancer.command(&["listener", "stop", "other"]);
            let refused = ask().expect_err("it accepts nothing");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            load.wait_for(50);
            balancer.command(&["listener", "start", "other"]);
            assert_eq!(ask().expect("it is served again").status, 200);
        }
        load.wait_for(50);
        // As logrotate does.
        fs::rename(&log, &rotated).expect("both are of the lab");
        // SAFETY: a system call on the number of a process that this test started and still holds.
        assert_eq!(unsafe { libc::kill(balancer.id() as i32, libc::SIGHUP) }, 0);
        load.wait_for(50);
    });
    records.assert_none_failed();
    let lines = |file| fs::read_to_string(file).unwrap_or_default().lines().count();
    // Three of ours on the other listener; not a line is lost, nor written twice.
    let expected = records.len() + 3;
    balancer.wait_until("a line for each request, in either file", PATIENCE, || {
        let counts = [lines(&rotated), lines(&log)];
        if counts[0] + counts[1] == expected { Ok(()) } else { Err((counts, expected)) }
    });
    assert!(lines(&rotated) > 150 && lines(&log) > 25, "{} {}", lines(&rotated), lines(&log));
    balancer.stop();
}
