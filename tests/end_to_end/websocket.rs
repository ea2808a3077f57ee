//! WebSocket by Python's websockets on both sides, through an HTTP and an HTTPS listener.

use crate::clients::{NAME, authority, python, python_words, run_python, start};
use crate::groups::{Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{LabOptions, VIP_A, web_servers};
use serde_json::json;
use tests::balancer::{PATIENCE, edited};

const PORT: u16 = 7000;
const CHECK: &str =
    "health_check: {enabled: true, protocol: TCP, interval: 1, timeout: 1, healthy_threshold: 2}";

// Holds LR-130
#[test]
fn websockets_talk_through_http_and_https_listeners() {
    let test = "websockets_talk_through_http_and_https_listeners";
    let options = LabOptions {
        id: "e2ewebsocket".into(),
        extra_servers: web_servers(1, 0),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    if !python(test) {
        return;
    }
    let Some(lab) = lab_with(test, options) else { return };
    let words = python_words("websocket_server");
    let port = PORT.to_string();
    let words: Vec<&str> = words.iter().map(String::as_str).chain([port.as_str()]).collect();
    let mut server = lab.spawn("ecs11", &words).expect("it starts");
    server.wait_until_listening(&[PORT], PATIENCE).expect("it listens");
    let chat = Group {
        name: "chat",
        protocol: "HTTP",
        listens: 80,
        settings: &[CHECK],
        servers: vec![(ecs1(1), PORT, 100)],
    };
    let tls = edited(&listener("tls", "HTTPS", 443, "chat"), &[("}", ", certificates: [www]}")]);
    let balancer = start(&lab, &(resources(&[chat]) + &tls));

    for (scheme, port) in [("ws", 80), ("wss", 443)] {
        let (uri, target) = (format!("{scheme}://{NAME}/talk"), format!("{VIP_A}:{port}"));
        let heard = run_python(&lab, "websocket_talk", &[&uri, &target, &authority(&lab)]);
        let expected = json!({
            "subprotocol": "chat",
            "text": "hällo",
            "large": true,
            "parts": "in three parts",
            "greeting": ["one", "two"],
            "closed": [4001, "enough of it"],
            "lost": "no close frame",
        });
        assert_eq!(heard, [expected], "{scheme}");
    }
    // A line for each connection, when it has ended.
    let log = balancer.wait_for_access_log(6);
    assert_eq!(log.len(), 6);
    for (index, line) in log.iter().enumerate() {
        assert_eq!((&line["status"], &line["upstream_status"]), (&101.into(), &"101".into()), "{line}");
        assert_eq!(line["scheme"], if index < 3 { "http" } else { "https" }, "{line}");
    }
    assert!(log[0]["body_bytes_sent"].as_u64() > Some(3_000_000), "{}", log[0]);
    balancer.stop();
}
