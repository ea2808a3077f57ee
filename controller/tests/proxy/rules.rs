//! Rules of listeners and what servers are told, through the whole engine.

use crate::harness::{Balancer, Response, Server, block_on, header, refusing};
use controller::model::{
    AclKind, Actions, Condition, Cors, Extension, FieldCondition, Final, FixedResponse, Forward,
    ForwardedHeaders, GroupShare, HeaderValue, InsertHeader, Ordered, Origins, Pattern, Redirect, Rewrite,
    StatusPattern, SystemValue, Template, TrafficLimit, XForwardedFor,
};
use controller::proxy::explain::Question;
use controller::snapshot::{AclSnapshot, CookieKey, GroupSnapshot, RuleSnapshot, ServerSnapshot, Snapshot};
use std::collections::BTreeMap;
use std::io::Read;

pub fn path(texts: &[&str]) -> Condition {
    Condition::Path(texts.iter().map(|text| Pattern::glob(*text)).collect())
}

fn regex(text: &str) -> Condition {
    Condition::Path(vec![Pattern::Regex { pattern: text.into(), ignore_case: false }])
}

pub fn forward(shares: &[(u32, u32)]) -> Final<u32> {
    let groups = shares.iter().map(|&(group, weight)| GroupShare { group, weight }).collect();
    Final::Forward(Forward { groups, sticky_secs: None })
}

pub fn fixed(status: u16, content: &str) -> FixedResponse {
    FixedResponse { status, content_type: "text/plain".into(), content: content.into() }
}

pub fn rule(
    id: &str,
    conditions: Vec<Condition>,
    extensions: Vec<Extension<u32>>,
    last: impl Into<Option<Final<u32>>>,
) -> RuleSnapshot {
    let extensions = (1..).zip(extensions).map(|(order, action)| Ordered { order, action }).collect();
    let last = last.into().map(|action| Ordered { order: 50_000, action });
    RuleSnapshot { id: id.into(), conditions, actions: Actions { extensions, last } }
}

pub fn insert(key: &str, value: HeaderValue, cover: bool) -> Extension<u32> {
    Extension::InsertHeader(InsertHeader { key: key.into(), value, cover })
}

pub fn text(value: &str) -> HeaderValue {
    HeaderValue::Text(value.into())
}

/// A group of its own for each of `servers`, the first of which is the default's.
pub fn balancer(servers: &[&Server], change: impl FnOnce(&mut Snapshot)) -> Balancer {
    Balancer::with(&[servers[0].address], 1, |snapshot| {
        for (id, server) in (2..).zip(&servers[1..]) {
            let server = ServerSnapshot { id, address: server.address, weight: 100, ramp: None };
            snapshot.groups.push(GroupSnapshot::new(format!("group-{id}"), vec![server]));
        }
        snapshot.listeners[0].load_balancer = "lb".into();
        change(snapshot);
    })
}

pub fn get(balancer: &Balancer, path: &str, lines: &str) -> Response {
    balancer.client().request(&format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
}

// Holds LR-63, LR-65, LR-109, LR-141
#[test]
fn a_request_goes_where_its_first_rule_says_and_the_log_says_which() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let balancer = balancer(&[&one, &two], |snapshot| {
        snapshot.listeners[0].rules = vec![
            rule("api", vec![path(&["/api/*"])], vec![], forward(&[(1, 100)])),
            rule("down", vec![path(&["/down"])], vec![], Final::FixedResponse(fixed(503, "later"))),
            rule("never", vec![path(&["/*"])], vec![], forward(&[(0, 0)])),
        ];
    });
    assert_eq!(get(&balancer, "/api/x?y", "").text(), "two");
    let down = get(&balancer, "/down", "");
    assert_eq!((down.status, down.text().as_str()), (503, "later"));
    assert_eq!(down.header("content-type"), Some("text/plain"));
    assert_eq!(get(&balancer, "/", "").status, 503, "a rule whose groups have no weight (LR-94, LR-96)");
    let log = balancer.into_log();
    let fields =
        |line: usize, names: [&str; 4]| names.map(|name| log[line][name].as_str().unwrap().to_owned());
    let names = ["rule", "action", "server_group", "upstream_status"];
    assert_eq!(fields(0, names), ["api", "forward", "group-2", "200"]);
    assert_eq!(fields(1, names), ["down", "fixed_response", "-", "-"]);
    assert_eq!(fields(2, names), ["never", "refuse", "-", "-"]);
    assert_eq!(log[2]["error"], "every server group of the rule has weight 0");
}

#[test]
fn requests_without_a_rule_take_the_default_action() {
    let server = Server::named("default");
    let balancer = balancer(&[&server], |snapshot| {
        snapshot.listeners[0].rules =
            vec![rule("x", vec![path(&["/x"])], vec![], Final::FixedResponse(fixed(404, "")))];
    });
    assert_eq!(get(&balancer, "/", "").text(), "default");
    assert_eq!(get(&balancer, "/x", "").status, 404);
    assert_eq!(balancer.into_log()[0]["rule"], "rule-default-web");
}

// Holds LR-97, LR-98, LR-99
#[test]
fn redirects_lead_where_the_rule_says() {
    let server = Server::named("x");
    let redirect = |https, path: &str| {
        Final::Redirect(Redirect {
            status: 308,
            https,
            host: None,
            port: None,
            path: path.parse().unwrap(),
            query: Template::query(),
        })
    };
    let balancer = balancer(&[&server], |snapshot| {
        snapshot.listeners[0].rules = vec![
            rule("old", vec![regex("^/old/([a-z]+)/(.*)$")], vec![], redirect(None, "/new/${2}/${1}")),
            rule("all", vec![path(&["/*"])], vec![], redirect(Some(true), "${path}")),
        ];
    });
    let response = get(&balancer, "/a/b?c", "");
    assert_eq!((response.status, response.header("location")), (308, Some("https://a.example/a/b?c")));
    let strange = get(&balancer, "/<a>/a%20b/100%?q={\"x\"}", "");
    assert_eq!(
        strange.header("location"),
        Some("https://a.example/%3Ca%3E/a%20b/100%25?q=%7B%22x%22%7D"),
        "what a URI cannot hold is encoded, and what is encoded stays"
    );
    let port = balancer.address.port();
    assert_eq!(
        get(&balancer, "/old/x/rest/of", "").header("location"),
        Some(format!("http://a.example:{port}/new/rest/of/x").as_str())
    );
}

// Holds LR-101, LR-102, LR-103
#[test]
fn rewrites_and_header_lines_change_what_the_server_sees() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |snapshot| {
        let extensions = vec![
            Extension::Rewrite(Rewrite {
                host: Some("inner.example".into()),
                path: "/v2/${1}".parse().unwrap(),
                query: "from=${host}".parse().unwrap(),
            }),
            Extension::RemoveHeader { key: "X-Gone".into() },
            insert("X-Text", text("mine"), true),
            insert("X-More", text("two"), false),
            insert("X-Copy", HeaderValue::Reference("user-agent".into()), true),
            insert("X-None", HeaderValue::Reference("x-absent".into()), true),
            insert("X-Ip", HeaderValue::System(SystemValue::ClientSrcIp), true),
            insert("X-Proto", HeaderValue::System(SystemValue::Protocol), true),
            insert("X-Slb", HeaderValue::System(SystemValue::SlbId), true),
            insert("X-Undone", text("x"), true),
            Extension::RemoveHeader { key: "x-undone".into() },
        ];
        snapshot.listeners[0].rules =
            vec![rule("v1", vec![regex("^/v1/(.*)$")], extensions, forward(&[(0, 100)]))];
    });
    let lines =
        "User-Agent: curl\r\nx-gone: 1\r\nX-TEXT: theirs\r\nX-More: one\r\nX-None: theirs\r\nX-Undone: 1\r\n";
    assert_eq!(get(&balancer, "/v1/a/b?c", lines).status, 200);
    let head = server.noted()[0].clone();
    assert!(head.starts_with("GET /v2/a/b?from=a.example HTTP/1.1\r\nHost: inner.example\r\n"), "{head}");
    assert_eq!(head.matches("Host:").count(), 1);
    for (name, value) in [
        ("x-text", Some("mine")),
        ("x-copy", Some("curl")),
        ("x-ip", Some("127.0.0.1")),
        ("x-proto", Some("http")),
        ("x-slb", Some("lb")),
        ("x-gone", None),
        ("x-none", None),
        ("x-undone", None),
    ] {
        assert_eq!(header(&head, name), value, "{name}: {head}");
    }
    assert_eq!(head.to_ascii_lowercase().matches("x-more: ").count(), 2, "appended: {head}");
    assert_eq!(head.to_ascii_lowercase().matches("x-text: ").count(), 1, "replaced: {head}");
}

// Holds LR-94, LR-95
#[test]
fn groups_share_by_weight_and_clients_keep_to_theirs() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let balancer = balancer(&[&one, &two], |snapshot| {
        snapshot.cookie_keys = vec![CookieKey { id: 1, key: [7; 32] }];
        let sticky = Final::Forward(Forward {
            groups: vec![GroupShare { group: 0, weight: 50 }, GroupShare { group: 1, weight: 50 }],
            sticky_secs: Some(1000),
        });
        snapshot.listeners[0].rules = vec![
            rule("sticky", vec![path(&["/sticky"])], vec![], sticky),
            rule("split", vec![path(&["/*"])], vec![], forward(&[(0, 75), (1, 25)])),
        ];
    });
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..40 {
        *counts.entry(get(&balancer, "/", "").text()).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([("one".into(), 30), ("two".into(), 10)]));
    for _ in 0..4 {
        let first = get(&balancer, "/sticky", "");
        let cookie = first.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with("SERVERGROUPID="), "{cookie}");
        for _ in 0..5 {
            let again = get(&balancer, "/sticky", &format!("Cookie: a=b; {cookie}\r\n"));
            assert_eq!(again.text(), first.text());
        }
        let forged = get(&balancer, "/sticky", &format!("Cookie: {}x\r\n", &cookie[..cookie.len() - 1]));
        assert_eq!(forged.status, 200, "a forged cookie names no group");
    }
}

// Holds LR-104
#[test]
fn what_is_beyond_the_limit_is_answered_503_and_marked() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |snapshot| {
        let limit = TrafficLimit { qps: Some(1), per_ip_qps: None };
        snapshot.listeners[0].rules = vec![rule(
            "slow",
            vec![path(&["/*"])],
            vec![Extension::TrafficLimit(limit)],
            forward(&[(0, 100)]),
        )];
    });
    assert_eq!(get(&balancer, "/", "").status, 200);
    let second = get(&balancer, "/", "");
    assert_eq!((second.status, second.header("alb-qps-limited")), (503, Some("Limited")));
    let log = balancer.into_log();
    assert_eq!((&log[1]["upstream_status"], &log[1]["action"]), (&"-".into(), &"traffic_limit".into()));
    assert_eq!(server.noted().len(), 1);
}

#[test]
fn requests_are_counted_by_rule_and_errors_by_whose_fault_they_are() {
    let server = Server::named("x");
    let mut balancer = balancer(&[&server], |snapshot| {
        let limit = Extension::TrafficLimit(TrafficLimit { qps: Some(1), per_ip_qps: None });
        let refusing = ServerSnapshot { id: 9, address: refusing(), weight: 100, ramp: None };
        snapshot.groups.push(GroupSnapshot::new("down", vec![refusing]));
        snapshot.listeners[0].rules = vec![
            rule("slow", vec![path(&["/slow"])], vec![limit], forward(&[(0, 100)])),
            rule("gone", vec![path(&["/gone"])], vec![], Final::FixedResponse(fixed(404, ""))),
            rule("down", vec![path(&["/down"])], vec![], forward(&[(1, 100)])),
            rule("never", vec![path(&["/never"])], vec![], forward(&[(0, 100)])),
        ];
    });
    for (path, status) in
        [("/slow", 200), ("/slow", 503), ("/slow", 503), ("/gone", 404), ("/down", 502), ("/", 200)]
    {
        assert_eq!(get(&balancer, path, "").status, status, "{path}");
    }
    assert_eq!(balancer.client().request("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    // Rules keep their counts over changes, and are told no more once they have left. That all workers have the change
    // says also that they are done with the requests before it.
    balancer.snapshot.listeners[0].rules.retain(|rule| rule.id != "gone");
    balancer.publish();
    let rules = balancer.stats.rules();
    let counts =
        |rule: &str| rules.get(&(1, rule.to_owned())).map(|totals| (totals.responses, totals.limited));
    assert_eq!(counts("slow"), Some(([0, 1, 0, 0, 2], 2)));
    assert_eq!(counts("down"), Some(([0, 0, 0, 0, 1], 0)));
    assert_eq!(counts("never"), Some(([0; 5], 0)));
    assert_eq!(
        counts("rule-default-web"),
        Some(([0, 1, 0, 1, 0], 0)),
        "what is refused has met no other rule"
    );
    assert_eq!(counts("gone"), None);
    let totals = balancer.stats.listeners()[&(1, balancer.address)];
    assert_eq!((totals.responses, totals.errors), ([0, 2, 0, 2, 3], [1, 1, 2]));
}

// Holds LR-107
#[test]
fn preflights_are_answered_here_and_responses_say_who_may_read_them() {
    let server = Server::new(|connection, notes| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(request.head);
            connection
                .send("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let balancer = balancer(&[&server], |snapshot| {
        let cors = Cors {
            origins: Origins::Listed(vec!["https://app.example".into()]),
            methods: vec!["PUT".into()],
            headers: vec![],
            expose: vec![],
            credentials: true,
            max_age: 60,
        };
        snapshot.listeners[0].rules =
            vec![rule("cors", vec![path(&["/*"])], vec![Extension::Cors(cors)], forward(&[(0, 100)]))];
    });
    let preflight = balancer.client().request(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    );
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    assert!(server.noted().is_empty(), "no server saw it");
    let allowed = get(&balancer, "/", "Origin: https://app.example\r\n");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(allowed.head.matches("Access-Control-Allow-Origin").count(), 1, "{}", allowed.head);
    let other = get(&balancer, "/", "Origin: https://other.example\r\n");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
}

// Holds LR-69
#[test]
fn response_rules_change_what_comes_back() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            let status = if request.head.contains("/missing") { "404 Not Found" } else { "200 OK" };
            connection.send(format!(
                "HTTP/1.1 {status}\r\nX-Secret: 1\r\nX-Kind: a\r\nContent-Length: 2\r\n\r\nok"
            ));
        }
    });
    let balancer = balancer(&[&server], |snapshot| {
        let kind = FieldCondition { key: "x-kind".into(), values: vec![Pattern::glob("a")] };
        snapshot.listeners[0].response_rules = vec![
            rule(
                "nice",
                vec![Condition::ResponseStatusCode(vec![StatusPattern::Code(404)])],
                vec![],
                Final::FixedResponse(fixed(404, "nothing here")),
            ),
            rule(
                "kind",
                vec![Condition::ResponseHeader(kind)],
                vec![
                    Extension::RemoveHeader { key: "X-Secret".into() },
                    insert("X-Copy", HeaderValue::Reference("X-Kind".into()), true),
                ],
                None,
            ),
        ];
    });
    let mut client = balancer.client();
    let found = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((found.header("x-secret"), found.header("x-copy")), (None, Some("a")));
    let missing = client.request("GET /missing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((missing.status, missing.text().as_str()), (404, "nothing here"));
    assert_eq!(
        client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(),
        "ok",
        "the client's connection goes on"
    );
    let log = balancer.into_log();
    assert_eq!((&log[1]["status"], &log[1]["upstream_status"]), (&404.into(), &"404".into()));
}

// Holds LR-110, LR-111, LR-112, LR-45, LR-120
#[test]
fn a_request_that_comes_round_again_is_answered_463() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |_| {});
    assert_eq!(get(&balancer, "/", "Causeway-Trace: 0123456789abcdef\r\n").status, 200);
    let seen = header(&server.noted()[0], "causeway-trace").unwrap().to_owned();
    let ours = seen.strip_prefix("0123456789abcdef, ").expect("ours comes after theirs").to_owned();
    assert_eq!(ours.len(), 16);
    let again = get(&balancer, "/", &format!("causeway-trace: {seen}\r\n"));
    assert_eq!((again.status, again.body.len()), (463, 0));
    let other = |count: usize| vec!["fedcba9876543210"; count].join(", ");
    assert_eq!(get(&balancer, "/", &format!("Causeway-Trace: {}\r\n", other(16))).status, 200);
    assert_eq!(get(&balancer, "/", &format!("Causeway-Trace: {}\r\n", other(17))).status, 463);
    let log = balancer.into_log();
    assert_eq!((&log[1]["status"], &log[1]["error_source"]), (&463.into(), &"client".into()));
}

// Holds LR-45, LR-110, LR-112
#[test]
fn loops_are_known_by_the_headers_configured() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |snapshot| {
        snapshot.listeners[0].trace_headers = vec!["X-Passed".into(), "ALICLOUD-ALB-TRACE".into()];
    });
    let others = "x-passed: a\r\nX-PASSED: b, c\r\nalicloud-alb-trace: 0123\r\nCauseway-Trace: theirs\r\n";
    assert_eq!(get(&balancer, "/", others).status, 200);
    let head = server.noted()[0].clone();
    let mark =
        header(&head, "x-passed").unwrap().strip_prefix("a, b, c, ").expect("ours comes last").to_owned();
    assert_eq!(header(&head, "alicloud-alb-trace"), Some(format!("0123, {mark}").as_str()));
    assert_eq!(header(&head, "causeway-trace"), Some("theirs"), "it is a header as others are");
    for name in ["x-passed", "alicloud-alb-trace"] {
        assert_eq!(head.to_ascii_lowercase().matches(&format!("\n{name}:")).count(), 1, "{head}");
        assert_eq!(get(&balancer, "/", &format!("{name}: {mark}\r\n")).status, 463, "{name}");
        let many = vec!["0123"; 17].join(",");
        assert_eq!(get(&balancer, "/", &format!("{name}: {many}\r\n")).status, 463, "{name}");
    }
    let sixteen = vec!["0123"; 16].join(",");
    let lines = format!("x-passed: {sixteen}\r\nalicloud-alb-trace: {sixteen}\r\n");
    assert_eq!(get(&balancer, "/", &lines).status, 200, "each header counts for itself");
    let question = Question {
        listener: None,
        https: false,
        port: balancer.address.port(),
        head: "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        client: "192.0.2.7".parse().unwrap(),
    };
    let told = block_on(balancer.engine.explain(question)).unwrap();
    assert_eq!(
        (told.mark, told.trace_headers),
        (Some(mark), vec!["X-Passed".into(), "ALICLOUD-ALB-TRACE".into()])
    );
}

// Holds LR-40, LR-41, LR-43
#[test]
fn servers_are_told_what_is_switched_on_and_nothing_a_client_made_up() {
    let server = Server::named("x");
    let mut balancer = balancer(&[&server], |snapshot| {
        snapshot.listeners[0].forwarded = ForwardedHeaders {
            x_forwarded_for: XForwardedFor::Remove,
            proto: true,
            slb_id: true,
            port: true,
            host: true,
            client_port: true,
            certificate_verify: Some("X-Verify".into()),
            ..ForwardedHeaders::default()
        };
    });
    let forged = "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-proto: https\r\nSLB-ID: mine\r\n\
                  X-Forwarded-Port: 1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Client-srcport: 1\r\nX-Verify: SUCCESS\r\n";
    let mut client = balancer.client();
    client.request(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{forged}\r\n"));
    let head = server.noted()[0].clone();
    let (port, client_port) = (balancer.address.port(), client.stream.local_addr().unwrap().port());
    for (name, value) in [
        ("x-forwarded-proto", "http".to_owned()),
        ("slb-id", "lb".to_owned()),
        ("x-forwarded-port", port.to_string()),
        ("x-forwarded-host", "a.example".to_owned()),
        ("x-forwarded-client-srcport", client_port.to_string()),
        ("x-verify", "NONE".to_owned()),
    ] {
        assert_eq!(header(&head, name), Some(value.as_str()), "{head}");
        assert_eq!(head.to_ascii_lowercase().matches(&format!("\n{name}:")).count(), 1, "{head}");
    }
    assert_eq!(header(&head, "x-forwarded-for"), None, "mode remove");
    balancer.snapshot.listeners[0].forwarded =
        ForwardedHeaders { x_forwarded_for: XForwardedFor::Pass, ..ForwardedHeaders::default() };
    balancer.publish();
    get(&balancer, "/", forged);
    let head = server.noted()[1].clone();
    assert_eq!(header(&head, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(header(&head, "slb-id"), Some("mine"), "what is off passes unchanged");
}

// Holds LR-30, LR-34
#[test]
fn who_is_not_served_is_closed_at_once() {
    let server = Server::named("x");
    let mut balancer = balancer(&[&server], |snapshot| {
        let entries = vec!["127.0.0.0/8".parse().unwrap()];
        snapshot.listeners[0].acl = Some(AclSnapshot { kind: AclKind::Black, entries });
    });
    let mut rest = Vec::new();
    // The connection may also be reset, since nothing that was sent is read.
    let _ = balancer.client().stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    balancer.snapshot.listeners[0].acl.as_mut().unwrap().kind = AclKind::White;
    balancer.publish();
    assert_eq!(get(&balancer, "/", "X-Forwarded-For: 192.0.2.1\r\n").text(), "x");
    assert_eq!(server.noted().len(), 1);
}

// Holds LR-14
#[test]
fn text_is_compressed_for_who_asks() {
    let page = "compress me ".repeat(500);
    let sent = page.clone();
    let server = Server::new(move |connection, _| {
        while let Some(request) = connection.request() {
            let kind =
                if request.head.contains("/picture") { "image/png" } else { "text/html; charset=utf-8" };
            let (head, body) = match request.head.contains("/chunked") {
                true => (
                    "Transfer-Encoding: chunked".to_owned(),
                    format!(
                        "{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                        6,
                        &sent[..6],
                        sent.len() - 6,
                        &sent[6..]
                    ),
                ),
                false if request.head.contains("/short") => {
                    ("Content-Length: 3".to_owned(), "abc".to_owned())
                }
                false => (format!("Content-Length: {}", sent.len()), sent.clone()),
            };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Type: {kind}\r\n{head}\r\n\r\n{body}"
            ));
        }
    });
    let balancer = balancer(&[&server], |snapshot| snapshot.listeners[0].gzip = true);
    let unpacked = |response: &Response| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&response.body[..]).read_to_string(&mut text).unwrap();
        text
    };
    let mut client = balancer.client();
    for path in ["/", "/chunked"] {
        let packed = client
            .request(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br, gzip;q=0.5\r\n\r\n"));
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.header("etag"), Some("W/\"1\""));
        assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
        assert_eq!(packed.header("content-length"), None);
        assert!(packed.body.len() < page.len() / 4);
        assert_eq!(unpacked(&packed), page);
    }
    for (path, lines) in [
        ("/picture", "Accept-Encoding: gzip\r\n"),
        ("/short", "Accept-Encoding: gzip\r\n"),
        ("/", "Accept-Encoding: gzip;q=0\r\n"),
        ("/", "Accept-Encoding: br\r\n"),
        ("/", ""),
    ] {
        let plain = get(&balancer, path, lines);
        assert_eq!(
            (plain.header("content-encoding"), plain.header("etag")),
            (None, Some("\"1\"")),
            "{path} {lines}"
        );
    }
    let old = balancer.client().request("GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!((old.header("content-encoding"), old.text()), (None, page));
}

// Holds LR-29
#[test]
fn clients_are_told_where_http_3_is() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |snapshot| snapshot.listeners[0].alt_svc_port = Some(8443));
    assert_eq!(get(&balancer, "/", "").header("alt-svc"), Some("h3=\":8443\"; ma=86400"));
}

// Holds LR-96
#[test]
fn a_group_without_servers_gives_its_share_to_no_other() {
    let server = Server::named("x");
    let balancer = balancer(&[&server], |snapshot| {
        snapshot.groups.push(GroupSnapshot::new("empty", vec![]));
        snapshot.listeners[0].rules =
            vec![rule("half", vec![path(&["/*"])], vec![], forward(&[(0, 50), (1, 50)]))];
    });
    let statuses: Vec<u16> = (0..6).map(|_| get(&balancer, "/", "").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3, "{statuses:?}");
    assert_eq!(server.noted().len(), 3);
}

// Holds LR-123
#[test]
fn errors_of_ours_are_small_pages_with_the_server_named() {
    let balancer = Balancer::with(&[], 1, |_| {});
    let page = get(&balancer, "/", "");
    assert_eq!((page.status, page.header("server")), (503, Some("causeway")));
    assert!(page.text().contains("<h1>503 Service Unavailable</h1>"), "{}", page.text());
    assert!(page.header("date").is_some());
    let head = balancer.client().request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.header("content-length")), (503, page.header("content-length")));
}

// Holds LR-109
#[test]
fn explains_what_would_become_of_a_request_and_changes_nothing() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let balancer = balancer(&[&one, &two], |snapshot| {
        let limit = Extension::TrafficLimit(TrafficLimit { qps: Some(1), per_ip_qps: None });
        snapshot.listeners[0].rules = vec![
            rule("gone", vec![path(&["/gone"])], vec![], Final::FixedResponse(fixed(404, ""))),
            rule("split", vec![path(&["/*"])], vec![limit], forward(&[(0, 50), (1, 50)])),
        ];
    });
    let ask = |head: &str| {
        let question = Question {
            listener: None,
            https: false,
            port: balancer.address.port(),
            head: head.into(),
            client: "192.0.2.7".parse().unwrap(),
        };
        block_on(balancer.engine.explain(question)).unwrap()
    };
    for _ in 0..3 {
        let told = ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((told.rule.as_deref(), told.action.as_str()), (Some("split"), "forward"));
        assert_eq!((told.server, told.scheduler_reason.as_deref()), (Some(one.address), Some("wrr")));
    }
    assert_eq!(get(&balancer, "/x", "").text(), "one", "it is still the turn of whom it named");
    assert_eq!(ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").server, Some(two.address));
    let gone = ask("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((gone.rule.as_deref(), gone.status), (Some("gone"), Some(404)));
    let wrong = ask("GET /x HTTP/1.1\r\n\r\n");
    assert_eq!((wrong.action.as_str(), wrong.status), ("refuse", Some(400)));
    let nobody = Question {
        listener: Some("other".into()),
        https: false,
        port: 80,
        head: String::new(),
        client: "192.0.2.7".parse().unwrap(),
    };
    assert!(block_on(balancer.engine.explain(nobody)).unwrap_err().ends_with("there are: web"));
}
