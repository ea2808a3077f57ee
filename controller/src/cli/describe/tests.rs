use super::*;
use crate::api::{DrainView, EvidenceView, FailureView, RampView};
use crate::cli::get::tests::{balancer, group, server};

/// How a server stands, in one line.
fn words(change: impl FnOnce(&mut ServerView)) -> String {
    let mut view = server("172.16.1.20:80", HealthStatus::Normal);
    change(&mut view);
    standing(&view)
}

fn mismatch() -> FailureView {
    FailureView {
        reason: "RESPONSE_MISMATCH".into(),
        actual: Some("404".into()),
        expected: Some("HTTP_2xx".into()),
        detail: String::new(),
    }
}

// Holds SG-192, SG-193
#[test]
fn says_how_a_server_stands_and_what_shows_it() {
    let probe = |failure, in_a_row| Some(EvidenceView { failure, ago_ms: 1250, in_a_row });
    assert_eq!(
        words(|server| {
            server.health = HealthStatus::Unhealthy;
            server.failure = Some(mismatch());
            server.evidence = probe(Some(mismatch()), 4);
            server.next_probe_ms = Some(840);
        }),
        "Unhealthy for 3m12s: RESPONSE_MISMATCH, got 404, expected HTTP_2xx; last probe 1.2 s ago, next within 0.8 s"
    );
    assert_eq!(
        words(|server| {
            server.health = HealthStatus::Unhealthy;
            server.failure =
                Some(FailureView { actual: None, detail: "no answer in 5 s".into(), ..mismatch() });
            server.evidence = probe(None, 1);
            server.next_probe_ms = Some(0);
        }),
        "Unhealthy for 3m12s: RESPONSE_MISMATCH, no answer in 5 s; last probe passed 1.2 s ago, next under way"
    );
    assert_eq!(
        words(|server| {
            server.slow_start = Some(RampView { elapsed_secs: 12, duration_secs: 30 });
            server.evidence = probe(Some(mismatch()), 1);
        }),
        "Normal for 3m12s, in slow start (12 s of 30 s); last probe failed (RESPONSE_MISMATCH) 1.2 s ago"
    );
    for (health, weight, expected) in [
        (HealthStatus::Initial, 100, "Initial for 3m12s"),
        (HealthStatus::Unavailable, 100, "Unavailable for 3m12s: checks are off"),
        (HealthStatus::Unused, 0, "Unused for 3m12s: weight 0, no new traffic, not probed"),
        (
            HealthStatus::Unused,
            100,
            "Unused: no traffic of this node can reach it (no listener uses the group, or cross-zone is off)",
        ),
    ] {
        let change = |server: &mut ServerView| {
            (server.health, server.weight) = (health, weight);
        };
        assert_eq!(words(change), expected);
    }
    assert_eq!(
        words(|server| {
            server.health = HealthStatus::Removing;
            server.drains = vec![DrainView {
                cause: "removed".into(),
                elapsed_secs: 5,
                remaining_secs: 25,
                in_flight: Some((12, 3)),
            }];
        }),
        "Removing for 3m12s: 3 of 12 still in flight, cut in 25 s"
    );
}

// Holds SG-13
#[test]
fn describes_a_group_with_its_settings_and_servers() {
    let servers = [server("172.16.1.20:80", HealthStatus::Normal)];
    assert_eq!(
        describe_group(&group("web"), &servers),
        "Server group web
  type             Ip, in VPC vpc1
  protocol         HTTP
  scheduler        Wrr
  health check     HTTP HEAD /health, passes on http_2xx,http_3xx
                   every 2 s, timeout 5 s, healthy after 3, unhealthy after 3 in a row (a silent server within 17 s)
  sticky sessions  off
  slow start       off
  draining         30 s
  keepalive        on
  cross-zone       on
  IPv6             off
  tags             team=web
  used by          listeners http, https of alb1
1 server
  172.16.1.20:80, weight 100
    Normal for 3m12s
"
    );
    let mut idle = group("old");
    idle.listeners.clear();
    idle.health_check = None;
    let text = describe_group(&idle, &[]);
    assert!(text.contains("  health check     off: every server counts as usable\n"), "{text}");
    assert!(
        text.ends_with("nothing: its servers are not probed, and get no traffic\nNo servers\n"),
        "{text}"
    );
}

#[test]
fn describes_a_server() {
    let mut view = server("172.16.1.20:80", HealthStatus::Normal);
    view.id = Some("ecs:i-web1".into());
    view.effective_weight = 37.5;
    view.description = Some("rack 4".into());
    assert_eq!(
        describe_server(&view),
        "Server 172.16.1.20:80 of group web
  id               ecs:i-web1
  address          172.16.1.20:80
  weight           100, 37.5 in force
  health           Normal for 3m12s
  zone             chengdu-a
  path             local
  in flight        2
  requests         1023 on 40 connections; 0 without a response, 0 connections failed
  description      rack 4
"
    );
}

#[test]
fn describes_load_balancers_and_listeners() {
    assert_eq!(
        describe_load_balancer(&balancer()),
        "Load balancer alb1
  edition          Standard
  address type     Internet, IPv4
  VPC              vpc1
  DNS name         alb1.causeway.test
  zone             chengdu-a (vSwitch vsw1): VIP 203.0.113.10, local addresses 172.16.1.11, 172.16.1.12
  zone             chengdu-b (vSwitch vsw2): VIP 203.0.113.11, local addresses 172.16.2.11, 172.16.2.12, served by \
another node
  listener         http: HTTP 80 to server group web
  listener         tcp: TCP 9000 to server group web (no NAT prefix)
"
    );
    assert_eq!(
        describe_listener(&balancer().listeners[0]),
        "Listener http
  load balancer    alb1
  accepts          HTTP on port 80
  server group     web
  timeouts         idle 15 s, request 60 s
  X-Forwarded-For  on
  status           Running
"
    );
    let mut behind_proxies = balancer().listeners[0].clone();
    behind_proxies.trusted_proxies = vec!["10.0.0.0/8".into(), "fd00::/8".into()];
    assert!(
        describe_listener(&behind_proxies).contains("\n  trusted proxies  10.0.0.0/8, fd00::/8\n"),
        "{}",
        describe_listener(&behind_proxies)
    );
}

#[test]
fn describes_the_certificates_of_a_listener() {
    let view = |name: &str, listeners: &[&str], problem: Option<&str>| CertificateView {
        name: name.into(),
        names: vec!["www.example.com".into(), "*.example.com".into()],
        key_type: "ECDSA P-256".into(),
        not_before: 0,
        not_after: 1_798_761_600,
        days_left: 198,
        problem: problem.map(str::to_owned),
        listeners: listeners.iter().map(|name| (*name).to_owned()).collect(),
        subject: "CN=www".into(),
        issuer: "CN=R3".into(),
        serial: "01".into(),
        fingerprint: "ab".into(),
        chain_length: 2,
    };
    let certificates = [
        view("www", &["https", "http"], None),
        view("other", &["https"], None),
        view("shop", &["http"], Some("expires on 2027-01-01, in 9 days")),
    ];
    assert_eq!(
        describe_certificates(&balancer().listeners[0], &certificates),
        "  certificate      www: www.example.com, *.example.com; ECDSA P-256; until 2027-01-01, 198 days\n  \
         certificate      shop: www.example.com, *.example.com; ECDSA P-256; expires on 2027-01-01, in 9 days\n"
    );
}

#[test]
fn describes_the_rules_of_a_listener_in_their_order() {
    let rule = |direction: &str, name: &str, priority| RuleView {
        listener: "http".into(),
        name: name.into(),
        direction: direction.into(),
        priority,
        conditions: vec!["path is /a*".into(), "method is GET".into()],
        actions: vec!["remove header x-a".into(), "forward to api".into()],
    };
    let listener = &balancer().listeners[0];
    let other = RuleView { listener: "tcp".into(), ..rule("Request", "other", 1) };
    assert_eq!(describe_rules(listener, std::slice::from_ref(&other)), "");
    assert_eq!(
        describe_rules(listener, &[rule("Request", "api", 10), rule("Response", "hide", 2), other]),
        "Rule 10: api\n  if path is /a*\n  and method is GET\n  then remove header x-a\n  then forward to api\n\
         Otherwise\n  then forward to web\n\
         Response rule 2: hide\n  if path is /a*\n  and method is GET\n  then remove header x-a\n  then forward to api\n"
    );
    let mut with_settings = listener.clone();
    with_settings.settings =
        vec![("gzip".into(), "on".into()), ("access list".into(), "White: office".into())];
    let page = describe_listener(&with_settings);
    assert!(
        page.contains(
            "\n  gzip             on\n  access list      White: office\n  status           Running\n"
        ),
        "{page}"
    );
}
