//! Forwarding rules as curl sees them, and `causeway explain http` beside the access log: both name the same rule.

use crate::clients::{NAME, curl, start};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{CLIENT_ADDRESSES, LabOptions, web_servers};
use serde_json::Value;
use std::collections::BTreeMap;
use tests::balancer::{PATIENCE, edited, wait_until};

const RULES: &str = r#", rules: [
      {name: moved, priority: 1, conditions: [{path: ["/old/*"]}],
       actions: [{redirect: {status: 308, protocol: HTTPS, port: 443, path: /new, query: "${query}"}}]},
      {name: closed, priority: 2, conditions: [{path: [/closed]}, {method: [GET]}],
       actions: [{fixed_response: {status: 410, content_type: text/plain, content: "gone for good"}}]},
      {name: versioned, priority: 3, conditions: [{path: ["~^/v[0-9]+/(.*)$"]}],
       actions: [{rewrite: {path: "/echo/${1}"}}, {insert_header: {key: x-edge, value: here}}, {forward: web}]},
      {name: split, priority: 4, conditions: [{path: [/echo]}, {header: {key: x-split, values: ["*"]}}],
       actions: [{forward: {groups: [{group: web, weight: 75}, {group: green, weight: 25}]}}]},
      {name: scripts, priority: 5, conditions: [{path: [/data]}],
       actions: [{cors: {allow_origin: ["https://shop.example.test"], allow_methods: [GET, PUT], max_age: 600}}, {forward: web}]},
      {name: copied, priority: 6, conditions: [{path: [/copied]}], actions: [{traffic_mirror: shadow}, {forward: web}]},
      {name: hide, direction: Response, priority: 1, conditions: [{response_status_code: [404]}],
       actions: [{remove_header: server}, {insert_header: {key: x-why, value: missing}}]}]}"#;

#[test]
fn rules_do_to_curl_what_they_say_and_explain_names_the_one_in_the_log() {
    let test = "rules_do_to_curl_what_they_say_and_explain_names_the_one_in_the_log";
    let options = LabOptions {
        id: "e2erules".into(),
        extra_servers: web_servers(3, 0),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with(test, options) else { return };
    let group = |name, listens, server| Group {
        name,
        protocol: "HTTP",
        listens,
        settings: &[FAST_CHECK],
        servers: vec![(ecs1(server), 80, 100)],
    };
    let web = listener("web", "HTTP", 80, "web");
    let tls = edited(&listener("tls", "HTTPS", 443, "web"), &[("}", ", certificates: [www]}")]);
    let text = resources(&[group("web", 80, 1), group("green", 81, 2), group("shadow", 82, 3)]);
    let balancer = start(&lab, &(edited(&text, &[(&web, &edited(&web, &[("}", RULES)]))]) + &tls));

    let mut asked: Vec<(&str, &str, Vec<&str>, &str)> = Vec::new();
    let mut ask = |rule, method, path, lines: &[&'static str]| {
        asked.push((method, path, lines.to_vec(), rule));
        let url = format!("http://{NAME}{path}");
        let lines = lines.iter().flat_map(|line| ["-H", line]);
        let words: Vec<&str> = ["--request", method, &*url].into_iter().chain(lines).collect();
        let answer = curl(&lab, &words);
        assert_eq!(answer.code, 0, "{path}: {answer:?}");
        answer
    };

    let moved = ask("moved", "GET", "/old/x?a=b", &[]);
    assert_eq!((moved.status, moved.header("location")), (308, Some("https://www.example.test/new?a=b")));
    let closed = ask("closed", "GET", "/closed", &[]);
    assert_eq!(
        (closed.status, &*closed.body, closed.header("content-type")),
        (410, &b"gone for good"[..], Some("text/plain"))
    );
    let versioned = ask("versioned", "GET", "/v2/shop/7?q=1", &[]).json();
    assert_eq!(
        (&versioned["uri"], &versioned["headers"]["x-edge"]),
        (&"/echo/shop/7?q=1".into(), &"here".into())
    );
    let preflight = ask(
        "scripts",
        "OPTIONS",
        "/data",
        &["Origin: https://shop.example.test", "Access-Control-Request-Method: PUT"],
    );
    let allowed = |name| preflight.header(name).unwrap_or_default();
    assert_eq!(preflight.status, 200);
    let origins = &preflight.headers["access-control-allow-origin"];
    assert_eq!(*origins, serde_json::json!(["https://shop.example.test"]), "once, or browsers refuse it");
    assert!(allowed("access-control-allow-methods").contains("PUT"), "{preflight:?}");
    assert_eq!(allowed("access-control-max-age"), "600");
    assert_eq!(ask("copied", "GET", "/copied", &[]).header("x-server"), Some("ecs11"));
    wait_until("the copy arrives", PATIENCE, || {
        let log = lab.server_log("ecs13").expect("a log");
        if log.iter().any(|line| line.request == "GET /copied HTTP/1.1") { Ok(()) } else { Err(log.len()) }
    });
    // The default rule, and one for the response.
    let missing = ask("rule-default-web", "GET", "/nothing", &[]);
    assert_eq!(
        (missing.status, missing.header("server"), missing.header("x-why")),
        (404, None, Some("missing"))
    );
    let found = ask("rule-default-web", "GET", "/", &[]);
    assert_eq!((found.status, found.header("server").is_some(), found.header("x-why")), (200, true, None));
    let mut servers = BTreeMap::<String, usize>::new();
    for _ in 0..40 {
        let server = ask("split", "GET", "/echo", &["X-Split: yes"]).json()["server"].clone();
        *servers.entry(server.as_str().expect("a name").to_owned()).or_default() += 1;
    }
    assert_eq!(
        servers,
        BTreeMap::from([("ecs11".into(), 30), ("ecs12".into(), 10)]),
        "by the groups' weights"
    );

    let log = balancer.wait_for_access_log(asked.len());
    assert_eq!(log.len(), asked.len());
    for (line, (method, path, lines, rule)) in log.iter().zip(&asked).take(8) {
        assert_eq!(
            (&line["request_uri"], &line["rule"]),
            (&Value::from(*path), &Value::from(*rule)),
            "{line}"
        );
        let url = format!("http://{NAME}{path}");
        let from = CLIENT_ADDRESSES[0].to_string();
        let mut words = vec!["explain", "http", *method, &*url, "--from", &*from, "--output", "json"];
        lines.iter().for_each(|line| words.extend(["--header", line]));
        let explained: Value = serde_json::from_str(&balancer.command(&words)).expect("JSON");
        assert_eq!(
            (&explained["rule"], &explained["action"]),
            (&line["rule"], &line["action"]),
            "{explained}"
        );
        assert_eq!(explained["listener"], line["listener"], "{explained}");
    }
    balancer.stop();
}
