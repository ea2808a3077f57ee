//! HTTP/3 by Python's aioquic, which finds the listener by what an HTTPS listener says of it.

use crate::clients::{NAME, authority, curl, python, run_python, start};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{CLIENT_ADDRESSES, Lab, LabOptions, VIP_A, web_servers};
use serde_json::Value;
use std::fs;
use tests::balancer::edited;

/// The web server ecs11 behind an HTTPS listener, and a QUIC one on another port.
fn both_transports() -> String {
    let group = Group::web(&[FAST_CHECK], &[(ecs1(1), 100)]);
    let tls = listener("tls", "HTTPS", 443, "web");
    let quic = listener("quic", "QUIC", 8443, "web");
    resources(&[group])
        + &edited(&tls, &[("}", ", certificates: [www], quic_upgrade: quic}")])
        + &edited(&quic, &[("}", ", certificates: [www]}")])
}

/// What came of `requests`, sent at once over one connection to `port`.
#[track_caller]
fn http3(lab: &Lab, port: &str, requests: &[&str]) -> Vec<Value> {
    let (address, authority) = (VIP_A.to_string(), authority(lab));
    run_python(lab, "http3", &[&[&*address, port, NAME, &authority], requests].concat())
}

// Holds LR-29
#[test]
fn an_http3_client_follows_alt_svc_and_downloads_and_uploads() {
    let test = "an_http3_client_follows_alt_svc_and_downloads_and_uploads";
    let options = LabOptions {
        id: "e2ehttp3".into(),
        extra_servers: web_servers(1, 0),
        big_file_bytes: 3_000_000,
        ..LabOptions::default()
    };
    if !python(test) {
        return;
    }
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = start(&lab, &both_transports());

    let seen = curl(&lab, &["--http2", &format!("https://{NAME}/")]);
    let service = seen.header("alt-svc").expect("the HTTPS listener tells of the other");
    let port = service.strip_prefix("h3=\":").and_then(|rest| rest.split('"').next());
    assert_eq!(port, Some("8443"), "{service}");
    let port = port.expect("just asserted");

    let requests = ["GET:/echo?a=b", "POST:/echo:1000000", "GET:/big", "PUT:/up/three:2000000"];
    let outcomes = http3(&lab, port, &requests);
    assert!(outcomes.iter().all(|outcome| outcome["error"].is_null()), "{outcomes:#?}");
    let statuses: Vec<_> = outcomes.iter().map(|outcome| &outcome["headers"][":status"]).collect();
    assert_eq!(statuses, ["200", "200", "200", "201"], "{outcomes:#?}");
    let whole = fs::read(lab.layout().big_file()).expect("the lab wrote it");
    let sum =
        lab.run("client", &["sha256sum", &lab.layout().big_file().display().to_string()]).expect("sums");
    assert_eq!(outcomes[2]["bytes"], whole.len());
    assert_eq!(outcomes[2]["sha256"].as_str(), sum.split(' ').next());
    let stored = fs::read(lab.layout().server_dir("ecs11").join("upload/up/three")).expect("stored");
    assert!(
        stored.len() == 2_000_000
            && (0..).zip(&stored).all(|(at, byte): (usize, _)| usize::from(*byte) == at % 251)
    );

    // Hundreds at once, and each gets its own.
    let requests: Vec<String> = (0..300).map(|number| format!("GET:/echo?n={number}")).collect();
    let outcomes = http3(&lab, port, &requests.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(outcomes.len(), 300);
    for outcome in &outcomes {
        assert_eq!(
            (&outcome["error"], &outcome["headers"][":status"]),
            (&Value::Null, &"200".into()),
            "{outcome}"
        );
    }

    let log = balancer.wait_for_access_log(305);
    assert_eq!(log.len(), 305);
    let mut asked: Vec<_> = log[5..].iter().map(|line| line["request_uri"].as_str().expect("text")).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 300);
    for line in &log[1..] {
        assert_eq!(
            (&line["server_protocol"], &line["listener"]),
            (&"HTTP/3.0".into(), &"quic".into()),
            "{line}"
        );
        assert_eq!((&line["error"], &line["slb_vport"]), (&"-".into(), &8443.into()), "{line}");
        assert_eq!(line["client_ip"], CLIENT_ADDRESSES[0].to_string(), "{line}");
    }
    balancer.stop();
}
