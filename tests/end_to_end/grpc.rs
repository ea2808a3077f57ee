//! A gRPC server and a gRPC client, each of gRPC's own library, with the balancer between them.

use crate::clients::{NAME, authority, python, run_python, start};
use crate::groups::{Group, listener, resources};
use crate::lab_with;
use causeway_lab::{ExtraServer, GRPC_PORT, Lab, LabOptions, VIP_A};
use serde_json::Value;
use tests::balancer::edited;

const CHECK: &str =
    "health_check: {enabled: true, protocol: gRPC, interval: 1, timeout: 1, healthy_threshold: 2}";

/// The lab's gRPC server behind an HTTPS listener.
fn shop() -> String {
    let server = (ExtraServer::grpc().address, GRPC_PORT, 100);
    let group =
        Group { name: "shop", protocol: "gRPC", listens: 443, settings: &[CHECK], servers: vec![server] };
    let text = resources(&[group]);
    let line = listener("shop", "gRPC", 443, "shop");
    let https = listener("shop", "HTTPS", 443, "shop");
    edited(&text, &[(&line, &edited(&https, &[("}", ", certificates: [www], request_timeout: 3}")]))])
}

/// What each call came to.
#[track_caller]
fn calls(lab: &Lab, names: &[&str]) -> Vec<Value> {
    let (target, authority) = (format!("{VIP_A}:443"), authority(lab));
    let outcomes = run_python(lab, "grpc_calls", &[&[&*target, NAME, &authority], names].concat());
    let called: Vec<_> = outcomes.iter().map(|outcome| outcome["call"].as_str().expect("a name")).collect();
    assert_eq!(called, names);
    outcomes
}

fn messages(outcome: &Value) -> Vec<&str> {
    let messages = outcome["messages"].as_array().expect("a list");
    messages.iter().map(|message| message.as_str().expect("text")).collect()
}

// Holds LR-132, LR-133
#[test]
fn calls_of_every_kind_come_through_whole() {
    let test = "calls_of_every_kind_come_through_whole";
    let options = LabOptions {
        id: "e2egrpc".into(),
        extra_servers: vec![ExtraServer::grpc()],
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    if !python(test) {
        return;
    }
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = start(&lab, &shop());

    let names = ["unary", "large", "server_streaming", "client_streaming", "both_streaming"];
    let outcomes = calls(&lab, &names);
    assert!(outcomes.iter().all(|outcome| outcome["code"] == 0), "{outcomes:#?}");
    let trailers = r"[('x-mark-bin', b'\x01\xfe'), ('x-server', 'grpc')]";
    assert_eq!(messages(&outcomes[0]), ["hello", trailers]);
    assert_eq!(messages(&outcomes[1]), ["same"]);
    let counted: Vec<String> = (0..1000).map(|number: u32| number.to_string()).collect();
    assert_eq!(messages(&outcomes[2]), counted);
    assert_eq!(messages(&outcomes[3]), ["1000 1000000"]);
    let said = ["you said 0", "you said 1", "you said 2", "you said 3", "you said 4"];
    assert_eq!(messages(&outcomes[4]), said);

    let names = ["failing", "failing_late", "unknown"];
    let outcomes = calls(&lab, &names);
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome["code"].as_u64()).collect();
    assert_eq!(codes, [Some(9), Some(15), Some(12)], "{outcomes:#?}");
    assert_eq!(outcomes[0]["details"], "100 % no: ½");
    assert_eq!(outcomes[0]["trailers"]["x-detail-bin"], r"b'\x00\xff'");
    assert_eq!(
        (messages(&outcomes[1]), &outcomes[1]["details"]),
        (vec!["so far so good"], &"and no further".into())
    );

    let log = balancer.wait_for_access_log(8);
    assert_eq!(log.len(), 8);
    for line in &log {
        assert_eq!((&line["status"], &line["server_protocol"]), (&200.into(), &"HTTP/2.0".into()), "{line}");
        assert_eq!((&line["error"], &line["upstream_status"]), (&"-".into(), &"200".into()), "{line}");
    }

    // Who gives up is gone for the server too; deadlines reach it in words as well.
    let outcomes = calls(&lab, &["cancelled", "late", "ended"]);
    assert_eq!((&outcomes[0]["code"], messages(&outcomes[0])), (&0.into(), vec!["-", "yes"]));
    assert_eq!(outcomes[1]["code"], 4, "DEADLINE_EXCEEDED: {}", outcomes[1]);
    let left: f64 = messages(&outcomes[1])[0].parse().expect("seconds left at the server");
    // Of 0.7 s. Clients round up what they tell, and a call without a deadline has no number here.
    assert!(left > 0.0 && left < 1.0, "{left}");
    assert_eq!(messages(&outcomes[2]), ["yes"]);
    let log = balancer.wait_for_access_log(12);
    // Of the late call the server knew the deadline too, and either side may have ended it first.
    let cancelled = &log[8];
    assert_eq!(cancelled["request_uri"], "/lab.Shop/Wait");
    assert_eq!(
        (&cancelled["status"], &cancelled["error_source"]),
        (&499.into(), &"client".into()),
        "{cancelled}"
    );

    // What the balancer has to say, it says in gRPC's words.
    lab.stop_server("grpc").expect("it stops");
    let outcome = calls(&lab, &["unary"]).remove(0);
    assert_eq!((&outcome["code"], &outcome["details"]), (&14.into(), &"502 Bad Gateway".into()), "{outcome}");
    let log = balancer.wait_for_access_log(13);
    let last = &log[12];
    assert_eq!((&last["status"], &last["error_source"]), (&502.into(), &"server".into()), "{last}");
    balancer.stop();
}
