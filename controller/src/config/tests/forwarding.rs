//! Forwarding rules of listeners.

use super::*;
use crate::model::{
    Condition, Cors, Extension, FieldCondition, Final, HeaderValue, InsertHeader, ListenerName, Origins,
    Pair, Pattern, Rule, RuleDirection, StatusPattern, SystemValue, TrafficLimit,
};

/// A listener "l1" of `protocol` with `rules`, as a flow list, beside groups "g1" and "g2", and "grpc".
fn parse(protocol: &str, rules: &str) -> Result<Parsed<Resources>, ConfigErrors> {
    let certificates = if protocol == "HTTP" { "" } else { ", certificates: [www]" };
    let listener = format!(
        "{{name: l1, load_balancer: alb1, protocol: {protocol}, port: 80, server_group: g1{certificates}, rules: [{rules}]}}"
    );
    let other = |name: &str, protocol: &str| {
        format!(
            "{{name: {name}, type: Ip, vpc: vpc1, protocol: {protocol}, health_check: {{enabled: true}}}}"
        )
    };
    network_with(&[&group_yaml("Ip", ""), &other("g2", "HTTP"), &other("grpc", "gRPC")], &[&listener])
}

#[track_caller]
fn rules(protocol: &str, rules: &str) -> Vec<Rule> {
    match parse(protocol, rules) {
        Ok(parsed) => parsed.value.listeners[&ListenerName::new("l1")].rules.clone(),
        Err(errors) => panic!("{rules} should be accepted:\n{errors}"),
    }
}

/// A rule with this condition, as YAML.
fn on(condition: &str) -> String {
    format!("{{name: r1, priority: 1, conditions: [{condition}], actions: [{{forward: g1}}]}}")
}

/// A rule for responses with this condition.
fn on_response(condition: &str) -> String {
    format!(
        "{{name: r1, direction: Response, priority: 1, conditions: [{condition}], actions: [{{remove_header: server}}]}}"
    )
}

/// A rule with these actions, as YAML.
fn with(actions: &str) -> String {
    format!("{{name: r1, priority: 1, conditions: [{{path: [/a]}}], actions: [{actions}]}}")
}

/// A rule for responses with these actions.
fn with_response(actions: &str) -> String {
    with(actions).replace("{name: r1,", "{name: r1, direction: Response,")
}

/// What is refused: a kind of case and its text on one line, then what is said of it, further in.
const REFUSALS: &str = include_str!("forwarding_refusals.txt");

/// The listener's protocol and its rules, for a case of [`REFUSALS`]: conditions of a rule for requests (`on`) or for
/// responses (`response`), its actions (`do`, `dor`), or else whole rules of a listener of that protocol.
fn case(kind: &str, text: &str) -> (String, String) {
    let http = || "HTTP".to_owned();
    match kind {
        "on" => (http(), on(text)),
        "response" => (http(), on_response(text)),
        "do" => (http(), with(text)),
        "dor" => (http(), with_response(text)),
        protocol => (protocol.to_owned(), text.to_owned()),
    }
}

// Holds LR-60..LR-62, LR-67, LR-69, LR-71, LR-72, LR-84, LR-85, LR-90..LR-95, LR-97, LR-98, LR-100..LR-104, LR-107, LR-113
#[test]
fn every_breach_of_a_rule_is_told_with_the_way_out() {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in REFUSALS.lines() {
        match line.strip_prefix("    ") {
            None => cases.push((line, Vec::new())),
            Some(said) => cases.last_mut().expect("a case begins the list").1.push(said),
        }
    }
    assert!(cases.len() > 150, "{}", cases.len());
    for (line, expected) in cases {
        let (kind, text) = line.split_once(' ').expect("a kind and a text");
        let (protocol, rules) = case(kind, text);
        let errors = parse(&protocol, &rules).expect_err(line);
        let said: Vec<String> =
            sentences(errors.findings()).iter().map(|line| line.replace("listener \"l1\", ", "")).collect();
        assert_eq!(said, expected, "{line}");
        assert!(!expected.is_empty(), "{line}");
    }
}

// Holds LR-62, LR-63
#[test]
fn rules_stand_by_direction_and_priority() {
    let text = "{name: cc, priority: 10000, conditions: [{path: [/a]}], actions: [{forward: g1}]}, \
                {name: rr, priority: 1, direction: Response, conditions: [{path: [/a]}], actions: [{remove_header: a}]}, \
                {name: aa, priority: 1, conditions: [{path: [/a]}], actions: [{forward: g1}]}, \
                {name: aa, priority: 2, conditions: [{path: [/a]}], actions: [{forward: g2}]}";
    let rules = rules("HTTP", text);
    let order: Vec<(&str, RuleDirection, u16)> =
        rules.iter().map(|rule| (rule.name.as_str(), rule.direction, rule.priority)).collect();
    use RuleDirection::{Request, Response};
    assert_eq!(order, [("aa", Request, 1), ("aa", Request, 2), ("cc", Request, 10_000), ("rr", Response, 1)]);
}

fn literal(text: &str) -> Pattern {
    Pattern::Literal(text.to_owned())
}

fn wildcard(text: &str) -> Pattern {
    Pattern::Wildcard(text.to_owned())
}

fn regex(pattern: &str, ignore_case: bool) -> Pattern {
    Pattern::Regex { pattern: pattern.to_owned(), ignore_case }
}

// Holds LR-70, LR-72, LR-80, LR-81, LR-84, LR-87
#[test]
fn conditions_mean_what_they_say() {
    let field = |values: Vec<Pattern>| FieldCondition { key: "X-A".to_owned(), values };
    let pair = |key, value| Pair { key, value };
    let long = format!("/{}", "x".repeat(127));
    for (text, expected) in [
        (
            "{host: [a.b, \"*.example.c?m\"]}",
            Condition::Host(vec![literal("a.b"), wildcard("*.example.c?m")]),
        ),
        ("{host: [\"~^www[.]Example\"]}", Condition::Host(vec![regex("^www[.]Example", true)])),
        (
            "{path: [/, \"/a-1_b.c+d/$&e~f@g:h\", \"/*\", \"/?\"]}",
            Condition::Path(vec![
                literal("/"),
                literal("/a-1_b.c+d/$&e~f@g:h"),
                wildcard("/*"),
                wildcard("/?"),
            ]),
        ),
        (&format!("{{path: [{long}]}}"), Condition::Path(vec![literal(&long)])),
        (
            "{path: [\"~^/A b$\", \"~*[.]json$\"]}",
            Condition::Path(vec![regex("^/A b$", false), regex("[.]json$", true)]),
        ),
        (
            "{header: {key: X-A, values: [b, \"c d*\", 7]}}",
            Condition::Header(field(vec![literal("b"), wildcard("c d*"), literal("7")])),
        ),
        (
            "{query: [{key: A, value: \"*\"}, {key: 1, value: x=y}]}",
            Condition::QueryString(vec![
                pair(literal("A"), wildcard("*")),
                pair(literal("1"), literal("x=y")),
            ]),
        ),
        (
            "{method: [HEAD, GET, POST, OPTIONS, PUT, PATCH, DELETE]}",
            Condition::Method(
                ["HEAD", "GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"].map(str::to_owned).to_vec(),
            ),
        ),
        (
            "{cookie: [{key: id, value: \"a?c\"}]}",
            Condition::Cookie(vec![pair(literal("id"), wildcard("a?c"))]),
        ),
        (
            "{source_ip: [192.0.2.7, 10.0.0.0/8, \"2001:db8::/32\"]}",
            Condition::SourceIp(
                ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec(),
            ),
        ),
    ] {
        assert_eq!(rules("HTTP", &on(text))[0].conditions, [expected], "{text}");
    }
    for (text, expected) in [
        ("{response_header: {key: X-A, values: [b]}}", Condition::ResponseHeader(field(vec![literal("b")]))),
        (
            "{response_status_code: [404, 5xx, \"100\", 1xx]}",
            Condition::ResponseStatusCode(vec![
                StatusPattern::Code(404),
                StatusPattern::Class(5),
                StatusPattern::Code(100),
                StatusPattern::Class(1),
            ]),
        ),
        ("{path: [/a]}", Condition::Path(vec![literal("/a")])),
    ] {
        assert_eq!(rules("HTTP", &on_response(text))[0].conditions, [expected], "{text}");
    }
    let several = "{header: {key: a, values: [b]}}, {header: {key: c, values: [d]}}, {query: [{key: a, value: b}]}, \
                   {query: [{key: c, value: d}]}, {cookie: [{key: a, value: b}]}, {cookie: [{key: c, value: d}]}, {path: [/a]}";
    assert_eq!(rules("HTTP", &on(several))[0].conditions.len(), 7, "different keys are joined by AND");
}

#[test]
fn a_host_that_looks_like_an_expression_is_doubted() {
    let parsed = parse("HTTP", &on("{host: [\"^www.example.com\"]}")).unwrap();
    let said: Vec<String> =
        sentences(parsed.warnings.findings()).into_iter().filter(|line| line.contains("condition")).collect();
    assert_eq!(
        said,
        [
            "listener \"l1\", rule \"r1\", condition #1: host \"^www.example.com\": no host has these characters, and it is not \
          taken for a regular expression; begin it with `~` to make it one"
        ]
    );
}

type Extensions = Vec<(u16, Extension<String>)>;
type Last = Option<(u16, Final<String>)>;

/// What a rule does: its extensions, each with its order, then the last.
fn actions(text: &str) -> (Extensions, Last) {
    let rule = rules("HTTPS", text).remove(0);
    let named = rule.actions.try_map(|group| Ok::<_, ()>(group.to_string())).unwrap();
    let extensions = named.extensions.into_iter().map(|extension| (extension.order, extension.action));
    (extensions.collect(), named.last.map(|last| (last.order, last.action)))
}

// Holds LR-91, LR-92
#[test]
fn actions_stand_in_their_order_which_is_the_lists_where_none_is_written() {
    let (extensions, last) = actions(&with("{remove_header: a}, {traffic_mirror: g2}, {forward: g1}"));
    assert_eq!(
        extensions,
        [
            (1, Extension::RemoveHeader { key: "a".into() }),
            (2, Extension::TrafficMirror { group: "g2".into() })
        ]
    );
    assert_eq!(last.unwrap().0, 3);
    let (extensions, last) = actions(&with(
        "{order: 50000, forward: g1}, {order: 7, remove_header: b}, {order: 1, remove_header: a}",
    ));
    let orders: Vec<u16> = extensions.iter().map(|(order, _)| *order).collect();
    assert_eq!((orders, last.unwrap().0), (vec![1, 7], 50_000));
    let (extensions, last) = actions(&with_response("{remove_header: a}"));
    assert_eq!((extensions.len(), last), (1, None), "a response passes on");
    let (_, last) = actions(&with_response("{remove_header: a}, {fixed_response: {status: 503}}"));
    assert_eq!(last.unwrap().0, 2);
}

// Holds LR-94, LR-95
#[test]
fn a_rule_forwards_to_groups_by_weight() {
    let forward = |text: &str| match actions(&with(&format!("{{forward: {text}}}"))).1 {
        Some((_, Final::Forward(forward))) => {
            let shares =
                forward.groups.into_iter().map(|share| (share.group, share.weight)).collect::<Vec<_>>();
            (shares, forward.sticky_secs)
        }
        other => panic!("{other:?}"),
    };
    let one = |weight| vec![("g1".to_owned(), weight)];
    assert_eq!(forward("g1"), (one(100), None));
    assert_eq!(forward("{groups: [{group: g1}]}"), (one(100), None));
    assert_eq!(forward("{groups: [{group: g1, weight: 0}], sticky: {}}"), (one(0), Some(1000)));
    assert_eq!(forward("{groups: [{group: g1}], sticky: {timeout: 86400}}").1, Some(86_400));
    assert_eq!(forward("{groups: [{group: g1}], sticky: {enabled: false, timeout: 1}}").1, None);
    let two = vec![("g1".to_owned(), 10_000), ("g2".to_owned(), 0)];
    assert_eq!(forward("{groups: [{group: g1, weight: 10000}, {group: g2, weight: 0}]}").0, two);
}

// Holds LR-97, LR-98, LR-100, LR-101
#[test]
fn a_rule_answers_redirects_and_rewrites() {
    let redirect = |path: &str, text: &str| {
        let rule = with(&format!("{{redirect: {{{text}}}}}")).replace("[/a]", path);
        match actions(&rule).1 {
            Some((_, Final::Redirect(to))) => {
                (to.status, to.https, to.host, to.port, to.path.to_string(), to.query.to_string())
            }
            other => panic!("{other:?}"),
        }
    };
    let same = || ("${path}".to_owned(), "${query}".to_owned());
    let (path, query) = same();
    assert_eq!(redirect("[/a]", "protocol: HTTPS"), (301, Some(true), None, None, path, query));
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(redirect("[/a]", &format!("status: {status}, port: 8443")).0, status);
    }
    assert_eq!(
        redirect(
            "[/a]",
            "host: www.example.com, port: 65535, path: \"/${host}/x${path}\", query: \"from=${protocol}&${query}\""
        ),
        (
            301,
            None,
            Some("www.example.com".into()),
            Some(65_535),
            "/${host}/x${path}".into(),
            "from=${protocol}&${query}".into()
        )
    );
    assert_eq!(redirect("[\"~^/(a)/(b)/(c)\"]", "path: \"/${3}/${1}/${2}\"").4, "/${3}/${1}/${2}");
    assert_eq!(redirect("[\"~^/(a)\", \"~/b/(c)\"]", "path: \"/${1}\"").4, "/${1}");
    assert_eq!(redirect("[\"~^/(a|b)/c\"]", "path: /d").4, "/d", "what is captured need not be used at all");

    let (extensions, _) = actions(&with("{rewrite: {host: b.internal, path: \"/x${path}\"}}, {forward: g1}"));
    let [(1, Extension::Rewrite(rewrite))] = extensions.as_slice() else { panic!("{extensions:?}") };
    assert_eq!(rewrite.host.as_deref(), Some("b.internal"));
    assert_eq!(
        (rewrite.path.to_string(), rewrite.query.to_string()),
        ("/x${path}".into(), "${query}".into())
    );

    for (text, status, content_type, content) in [
        ("status: 200", 200, "text/plain", ""),
        ("status: 299, content_type: text/css, content: a", 299, "text/css", "a"),
        ("status: 599, content_type: application/json, content: \"{}\\n\"", 599, "application/json", "{}\n"),
    ] {
        let Some((_, Final::FixedResponse(fixed))) =
            actions(&with(&format!("{{fixed_response: {{{text}}}}}"))).1
        else {
            panic!("{text}");
        };
        assert_eq!(
            (fixed.status, fixed.content_type.as_str(), fixed.content.as_str()),
            (status, content_type, content)
        );
    }
    let largest = with(&format!("{{fixed_response: {{status: 200, content: {}}}}}", "x".repeat(1024)));
    assert!(parse("HTTP", &largest).is_ok());
    assert!(parse("HTTP", &largest.replace("xxx}", "xxxx}")).is_err());
}

// Holds LR-102, LR-103, LR-104, LR-107
#[test]
fn extensions_mean_what_they_say() {
    let extension = |text: &str| actions(&with(&format!("{{{text}}}, {{forward: g1}}"))).0.remove(0).1;
    let insert = |value, cover| Extension::InsertHeader(InsertHeader { key: "X-A".into(), value, cover });
    for (text, expected) in [
        ("insert_header: {key: X-A, value: b c}", insert(HeaderValue::Text("b c".into()), true)),
        ("insert_header: {key: X-A, value: 7, cover: false}", insert(HeaderValue::Text("7".into()), false)),
        (
            "insert_header: {key: X-A, reference: user-agent}",
            insert(HeaderValue::Reference("user-agent".into()), true),
        ),
        (
            "insert_header: {key: X-A, system: ClientSrcPort}",
            insert(HeaderValue::System(SystemValue::ClientSrcPort), true),
        ),
        (
            "insert_header: {key: X-A, system: ClientSrcIp}",
            insert(HeaderValue::System(SystemValue::ClientSrcIp), true),
        ),
        (
            "insert_header: {key: X-A, system: Protocol}",
            insert(HeaderValue::System(SystemValue::Protocol), true),
        ),
        ("insert_header: {key: X-A, system: SLBId}", insert(HeaderValue::System(SystemValue::SlbId), true)),
        (
            "insert_header: {key: X-A, system: SLBPort}",
            insert(HeaderValue::System(SystemValue::SlbPort), true),
        ),
        ("remove_header: X-A", Extension::RemoveHeader { key: "X-A".into() }),
        (
            "traffic_limit: {qps: 1000000}",
            Extension::TrafficLimit(TrafficLimit { qps: Some(1_000_000), per_ip_qps: None }),
        ),
        (
            "traffic_limit: {per_ip_qps: 1}",
            Extension::TrafficLimit(TrafficLimit { qps: None, per_ip_qps: Some(1) }),
        ),
        (
            "traffic_limit: {qps: 2, per_ip_qps: 1}",
            Extension::TrafficLimit(TrafficLimit { qps: Some(2), per_ip_qps: Some(1) }),
        ),
    ] {
        assert_eq!(extension(text), expected, "{text}");
    }
    let usual = Cors {
        origins: Origins::Any,
        methods: ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"].map(str::to_owned).to_vec(),
        headers: vec![],
        expose: vec![],
        credentials: false,
        max_age: -1,
    };
    assert_eq!(extension("cors: {allow_origin: [\"*\"]}"), Extension::Cors(usual.clone()));
    let origins = "[\"https://A.example:65535\", \"http://*.example.com\"]";
    assert_eq!(
        extension(&format!(
            "cors: {{allow_origin: {origins}, allow_methods: [\"*\"], allow_headers: [X-A], expose_headers: [\"*\"], \
             allow_credentials: true, max_age: 172800}}"
        )),
        Extension::Cors(Cors {
            origins: Origins::Listed(vec!["https://a.example:65535".into(), "http://*.example.com".into()]),
            methods: vec!["*".into()],
            headers: vec!["X-A".into()],
            expose: vec!["*".into()],
            credentials: true,
            max_age: 172_800,
        })
    );
}

// Holds LR-102, LR-103
#[test]
fn headers_of_others_are_left_alone() {
    for name in [
        "slb-id",
        "slb-ip",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-eip",
        "x-forwarded-port",
        "x-forwarded-client-srcport",
        "x-forwarded-host",
        "connection",
        "upgrade",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "te",
        "host",
        "cookie",
        "remoteip",
        "authority",
        "causeway-trace",
        "alicloud-alb-trace",
    ] {
        let is_kept_in_responses = name.ends_with("trace")
            || matches!(name, "connection" | "upgrade" | "content-length" | "transfer-encoding");
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            let insert = format!("{{insert_header: {{key: {name}, value: b}}}}");
            let remove = format!("{{remove_header: {name}}}");
            assert!(parse("HTTP", &with(&format!("{insert}, {{forward: g1}}"))).is_err(), "{name}");
            assert!(parse("HTTP", &with(&format!("{remove}, {{forward: g1}}"))).is_err(), "{name}");
            assert!(parse("HTTP", &with_response(&insert)).is_err(), "{name}");
            assert_eq!(parse("HTTP", &with_response(&remove)).is_err(), is_kept_in_responses, "{name}");
        }
    }
}

// Holds LR-60, LR-67, LR-73
#[test]
fn edition_basic_has_rules_of_its_own() {
    let errors = |rules: &str| {
        let network = NETWORK.replace("name: alb4\n", "name: alb4\n    edition: Basic\n");
        let listener = format!(
            "{{name: l1, load_balancer: alb4, protocol: HTTP, port: 80, server_group: g1, rules: [{rules}]}}"
        );
        let text =
            format!("{network}server_groups:\n  - {}\nlisteners:\n  - {listener}\n", group_yaml("Ip", ""));
        parse_resources(&text, "r.yaml").map_or_else(|errors| sentences(errors.findings()), |_| vec![])
    };
    let edition = "and load balancer \"alb4\" is of edition Basic";
    let said = |code: &str, value: &str, rule: &str, remedy: &str| {
        format!(
            "[{code}] listener \"l1\", rule \"r1\": {value}: {rule}, {edition}; {remedy}, or write `edition: Standard`"
        )
    };
    let five = "{path: [/a*, /b*, /c*, /d*, /e*]}, {host: [a.b]}, {header: {key: a, values: [b]}}, {header: {key: c, values: [b]}}, \
                {header: {key: d, values: [b]}}";
    assert_eq!(errors(&on(five)), [""; 0]);
    let denied = "OperationDenied.RuleConditionWithBasicEdition";
    for (condition, kind) in [
        ("{query: [{key: a, value: b}]}", "query"),
        ("{method: [GET]}", "method"),
        ("{cookie: [{key: a, value: b}]}", "cookie"),
        ("{source_ip: [192.0.2.1]}", "source_ip"),
    ] {
        let rule = "conditions there are of host, path and header";
        assert_eq!(
            errors(&on(condition)),
            [said(denied, &format!("condition {kind}"), rule, "remove the condition")]
        );
    }
    let at_most = |max| format!("a rule there has at most {max}");
    let six = format!("{five}, {{header: {{key: e, values: [b]}}}}");
    assert_eq!(
        errors(&on(&six)),
        [said("QuotaExceeded.RuleConditions", "6 conditions", &at_most(5), "remove some")]
    );
    let wildcards = "{path: [/a*, /b*, /c*, /d*, /e*, /f*]}";
    let value = "6 values with wildcards";
    assert_eq!(
        errors(&on(wildcards)),
        [said("QuotaExceeded.RuleWildcards", value, &at_most(5), "remove some")]
    );

    let denied = "OperationDenied.RuleActionWithBasicEdition";
    for (actions, kind) in [
        ("{fixed_response: {status: 404}}", "fixed_response"),
        ("{rewrite: {path: /b}}, {forward: g1}", "rewrite"),
        ("{insert_header: {key: a, value: b}}, {forward: g1}", "insert_header"),
        ("{remove_header: a}, {forward: g1}", "remove_header"),
        ("{traffic_limit: {qps: 1}}, {forward: g1}", "traffic_limit"),
        ("{traffic_mirror: g1}, {forward: g1}", "traffic_mirror"),
        ("{cors: {allow_origin: [\"*\"]}}, {forward: g1}", "cors"),
    ] {
        let rule = "actions there forward or redirect";
        assert_eq!(
            errors(&with(actions)),
            [said(denied, &format!("action {kind}"), rule, "remove the action")]
        );
    }
    assert_eq!(errors(&with("{redirect: {port: 81}}")), [""; 0]);
    let four = errors(&with("{remove_header: a}, {remove_header: b}, {remove_header: c}, {forward: g1}"));
    assert_eq!(four.len(), 4);
    assert!(
        four.contains(&said("QuotaExceeded.RuleActions", "4 actions", &at_most(3), "remove some")),
        "{four:?}"
    );
    let response = errors(&on_response("{path: [/a]}"));
    let expected = "[OperationDenied.ResponseRuleWithBasicEdition] listener \"l1\", rule \"r1\": direction Response: load balancer \
                    \"alb4\" is of edition Basic; remove the rule, or write `edition: Standard`";
    assert!(response.iter().any(|line| line == expected), "{response:?}");
}

// Holds LR-62, LR-67
#[test]
fn ten_thousand_rules_are_read() {
    let rule = |n| {
        format!(
            "{{name: r{n}, priority: {n}, conditions: [{{path: [/p{n}]}}], actions: [{{redirect: {{port: 81}}}}]}}"
        )
    };
    let text: Vec<String> = (1..=10_000).map(rule).collect();
    assert_eq!(rules("HTTP", &text.join(", ")).len(), 10_000);
}
