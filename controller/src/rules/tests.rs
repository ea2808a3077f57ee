//! Rules as a whole: every kind of condition, and the index against asking one rule after the other.

use super::*;
use crate::model::{
    Actions, Condition, FieldCondition, FixedResponse, Ordered, Pair, Pattern, Redirect, Rewrite,
    StatusPattern, Template,
};

mod index;
mod one_by_one;

/// Header lines as pairs.
pub(super) struct Lines<'a>(pub(super) Vec<(&'a str, &'a str)>);

impl Fields for Lines<'_> {
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut lines = self.0.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
        lines.any(|(_, value)| visit(value.as_bytes()))
    }
}

/// What is asked, as in a request's first line and head: `GET a.com/path?query`.
struct Ask<'a> {
    line: &'a str,
    client: &'a str,
    fields: &'a [(&'a str, &'a str)],
}

fn ask(line: &str) -> Ask<'_> {
    Ask { line, client: "192.0.2.1", fields: &[] }
}

impl Ask<'_> {
    fn with<R>(&self, look: impl FnOnce(&RequestView<'_>) -> R) -> R {
        let (method, rest) = self.line.split_once(' ').unwrap();
        let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        look(&RequestView {
            host: host.as_bytes(),
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            method: method.as_bytes(),
            client: self.client.parse().unwrap(),
            fields: &Lines(self.fields.to_vec()),
        })
    }
}

fn rule(conditions: Vec<Condition>) -> RuleSnapshot {
    let fixed = FixedResponse { status: 200, content_type: "text/plain".into(), content: String::new() };
    let last = Some(Ordered { order: 1, action: Final::FixedResponse(fixed) });
    RuleSnapshot { id: "rule".into(), conditions, actions: Actions { extensions: vec![], last } }
}

fn globs(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::glob(*text)).collect()
}

fn host(texts: &[&str]) -> Condition {
    Condition::Host(globs(texts))
}

fn path(texts: &[&str]) -> Condition {
    Condition::Path(globs(texts))
}

fn field(key: &str, values: &[&str]) -> FieldCondition {
    FieldCondition { key: key.into(), values: globs(values) }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
    pairs.iter().map(|(key, value)| Pair { key: Pattern::glob(*key), value: Pattern::glob(*value) }).collect()
}

fn regex(pattern: &str) -> Pattern {
    Pattern::Regex { pattern: pattern.into(), ignore_case: false }
}

fn set(rules: &[RuleSnapshot]) -> RuleSet {
    RuleSet::new(rules).unwrap()
}

fn found(set: &RuleSet, ask: &Ask<'_>) -> Option<usize> {
    ask.with(|request| set.find(request)).map(|found| found.index)
}

/// Whether a rule with this condition alone matches.
#[track_caller]
fn holds(condition: Condition, ask: &Ask<'_>) -> bool {
    found(&set(&[rule(vec![condition])]), ask).is_some()
}

// Holds LR-63
#[test]
fn the_first_rule_in_the_list_wins_however_general_it_is() {
    let rules = [
        rule(vec![path(&["/a/*"])]),
        rule(vec![path(&["/a/b"]), host(&["www.a.com"])]),
        rule(vec![host(&["www.a.com"])]),
        rule(vec![path(&["/*"])]),
        rule(vec![path(&["/c"])]),
    ];
    let set = set(&rules);
    for (line, expected) in [
        ("GET www.a.com/a/b", Some(0)),
        ("GET www.a.com/c", Some(2)),
        ("GET a.com/c", Some(3)),
        ("OPTIONS a.com", None),
    ] {
        assert_eq!(found(&set, &ask(line)), expected, "{line}");
    }
}

// Holds LR-64
#[test]
fn no_rule_may_match() {
    assert_eq!(found(&set(&[]), &ask("GET a.com/")), None);
    assert_eq!(found(&set(&[rule(vec![path(&["/b"])])]), &ask("GET a.com/")), None);
}

// Holds LR-70
#[test]
fn all_conditions_must_hold_and_of_each_one_value() {
    let set = set(&[rule(vec![
        host(&["a.com", "b.com"]),
        path(&["/x", "/y*"]),
        Condition::Method(vec!["GET".into(), "PUT".into()]),
    ])]);
    for line in ["GET a.com/x", "PUT b.com/y1", "GET b.com/y"] {
        assert_eq!(found(&set, &ask(line)), Some(0), "{line}");
    }
    for line in ["GET c.com/x", "GET a.com/z", "POST a.com/x", "get a.com/x", "GET a.com/x1"] {
        assert_eq!(found(&set, &ask(line)), None, "{line}");
    }
}

#[test]
fn a_second_condition_on_host_or_path_counts_too() {
    let set = set(&[
        rule(vec![host(&["*.com"]), host(&["a.*"]), path(&["/a*"]), path(&["*b"])]),
        rule(vec![Condition::Host(vec![]), path(&["/*"])]),
        rule(vec![path(&["/all"])]),
        rule(vec![]),
    ]);
    for (line, expected) in [
        ("GET a.com/ab", 0),
        ("GET a.com/a", 3),
        ("GET b.com/ab", 3),
        ("GET a.org/ab", 3),
        ("GET a.com/b", 3),
        ("GET a.com/all", 2),
    ] {
        assert_eq!(found(&set, &ask(line)), Some(expected), "{line}");
    }
}

// Holds LR-82
#[test]
fn hosts_match_in_any_case_and_without_their_port() {
    for host_asked in ["www.example.com", "WWW.Example.COM", "www.example.com:8080", "Www.example.com:"] {
        let ask = Ask { line: &format!("GET {host_asked}/"), ..ask("") };
        assert!(holds(host(&["www.example.com"]), &ask), "{host_asked}");
        assert!(holds(host(&["*.EXAMPLE.com"]), &ask), "{host_asked}");
        assert!(holds(Condition::Host(vec![regex("^WWW.example.com$")]), &ask), "{host_asked}");
    }
    assert!(!holds(host(&["www.example.com"]), &ask("GET example.com/")));
    assert!(!holds(host(&["www.example.com"]), &ask("GET /")));
    for length in [255, 256, 257, 5000] {
        let name = "a".repeat(length);
        let ask = Ask { line: &format!("GET {}B:80/", name), ..ask("") };
        assert!(holds(host(&[&format!("{name}b")]), &ask), "{length}");
    }
}

// Holds LR-86
#[test]
fn header_lines_match_in_any_case_of_the_name_and_any_of_them_suffices() {
    let fields = [("X-Version", "1"), ("Accept", "text/*"), ("x-version", "2b")];
    let ask = Ask { fields: &fields, ..ask("GET a.com/") };
    let holds = |key: &str, values: &[&str]| holds(Condition::Header(field(key, values)), &ask);
    assert!(holds("x-VERSION", &["1"]));
    assert!(holds("X-Version", &["0", "2?"]));
    assert!(!holds("X-Version", &["2B"]));
    assert!(!holds("X-Version", &["2"]));
    assert!(!holds("X-Versio", &["*"]));
    assert!(holds("Accept", &["*/*"]));
}

// Holds LR-86
#[test]
fn query_parameters_are_decoded_and_both_parts_must_match_the_same_one() {
    let cases = [
        ("a=1&b=2", ("a", "1"), true),
        ("a=1&b=2", ("b", "2"), true),
        ("a=1&b=2", ("a", "2"), false),
        ("a=1&a=2", ("a", "2"), true),
        ("a=1", ("A", "1"), false),
        ("a=B", ("a", "b"), false),
        ("a+b=c%20d", ("a b", "c d"), true),
        ("%61=%4a%4A", ("a", "JJ"), true),
        ("a=%2541", ("a", "%41"), true),
        ("a=1%26b=2", ("a", "1&b=2"), true),
        ("a%3D1=2", ("a=1", "2"), true),
        ("a=1=2", ("a", "1=2"), true),
        ("x=%20&a=1=2", ("a", "1=2"), true),
        ("a=%", ("a", "%"), true),
        ("a=%4", ("a", "%4"), true),
        ("a=%4g%g4%%41", ("a", "%4g%g4%A"), true),
        ("a=%zz+", ("a", "%zz "), true),
        ("a", ("a", ""), true),
        ("a+", ("a ", ""), true),
        ("a=", ("a", ""), true),
        ("b&a&c", ("a", ""), true),
        ("=1", ("", "1"), true),
        ("=", ("", ""), true),
        ("+=&=", ("", ""), true),
        ("", ("*", "*"), false),
        ("&&", ("*", "*"), false),
        ("&%20&", ("?", ""), true),
        ("&+a&", ("*", "1"), false),
        ("abc=xyz", ("a?c", "x*"), true),
        ("a=1;b=2", ("b", "2"), false),
    ];
    for (query, pair, expected) in cases {
        let condition = Condition::QueryString(pairs(&[("no", "no"), pair]));
        let ask = Ask { line: &format!("GET a.com/?{query}"), ..ask("") };
        assert_eq!(holds(condition, &ask), expected, "{query} {pair:?}");
    }
    assert!(!holds(Condition::QueryString(pairs(&[("*", "*")])), &ask("GET a.com/")));
}

// Holds LR-70
#[test]
fn cookies_come_from_all_cookie_lines() {
    let fields = [("Cookie", "a=1; b=2;c=3"), ("cookie", " d = 4 ;;e; f=\"5=6\"; ="), ("X-Cookie", "g=7")];
    let ask = Ask { fields: &fields, ..ask("GET a.com/") };
    let holds = |key: &str, value: &str| holds(Condition::Cookie(pairs(&[("no", "no"), (key, value)])), &ask);
    for (key, value) in
        [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("f", "\"5=6\""), ("?", "?"), ("", "")]
    {
        assert!(holds(key, value), "{key}={value}");
    }
    for (key, value) in [("a", "2"), ("A", "1"), ("e", "*"), ("g", "7"), ("f", "5=6")] {
        assert!(!holds(key, value), "{key}={value}");
    }
}

// Holds LR-87
#[test]
fn source_addresses_match_networks() {
    let nets = |texts: &[&str]| Condition::SourceIp(texts.iter().map(|text| text.parse().unwrap()).collect());
    let from = |client| Ask { client, ..ask("GET a.com/") };
    assert!(holds(nets(&["198.51.100.0/24", "192.0.2.0/31"]), &from("192.0.2.1")));
    assert!(!holds(nets(&["198.51.100.0/24", "192.0.2.0/31"]), &from("192.0.2.2")));
    assert!(holds(nets(&["192.0.2.2/32"]), &from("::ffff:192.0.2.2")));
    assert!(holds(nets(&["2001:db8::/32"]), &from("2001:db8::1")));
    assert!(!holds(nets(&["2001:db8::/32"]), &from("192.0.2.1")));
}

// Holds LR-69
#[test]
fn response_rules_look_at_status_and_lines_of_the_response_and_at_the_request() {
    let statuses = Condition::ResponseStatusCode(vec![StatusPattern::Code(404), StatusPattern::Class(5)]);
    let set = set(&[
        rule(vec![statuses, path(&["/a*"])]),
        rule(vec![Condition::ResponseHeader(field("Server", &["nginx*"]))]),
        rule(vec![Condition::Header(field("X-A", &["1"]))]),
    ]);
    let fields = [("Server", "nginx"), ("X-A", "1")];
    let found = |line: &str, fields: &[(&str, &str)], status, response: &[(&str, &str)]| {
        let response = Lines(response.to_vec());
        Ask { line, fields, ..ask("") }
            .with(|request| set.find_response(request, status, &response))
            .map(|found| found.index)
    };
    for status in [404, 500, 503, 599] {
        assert_eq!(found("GET a.com/a", &fields, status, &[]), Some(0), "{status}");
        assert_eq!(found("GET a.com/b", &fields, status, &[]), Some(2), "{status}");
    }
    for status in [200, 403, 405, 499, 600] {
        assert_eq!(found("GET a.com/a", &[], status, &[]), None, "{status}");
    }
    assert_eq!(found("GET a.com/a", &[], 200, &[("server", "nginx/1")]), Some(1));
    assert_eq!(found("GET a.com/a", &fields[..1], 200, &[]), None);
    assert_eq!(found("GET a.com/a", &[], 200, &fields[1..]), None);
    // Before there is a response, only the last one can match.
    let before = Ask { fields: &fields, ..ask("GET a.com/a") };
    assert_eq!(super::tests::found(&set, &before), Some(2));
}

// Holds LR-98
#[test]
fn a_path_s_regular_expression_captures_for_actions_that_use_it() {
    let captures = |values: Vec<Pattern>, actions: Actions<u32>, line: &str| {
        let set = set(&[RuleSnapshot { actions, ..rule(vec![Condition::Path(values)]) }]);
        ask(line).with(|request| {
            let found = set.find(request).unwrap();
            [1, 2, 3].map(|group| String::from_utf8(found.captures.of(request.path, group).to_vec()).unwrap())
        })
    };
    let redirect = |path: &str, query: &str| Actions {
        extensions: vec![],
        last: Some(Ordered {
            order: 1,
            action: Final::Redirect(Redirect {
                status: 302,
                https: None,
                host: None,
                port: None,
                path: path.parse().unwrap(),
                query: query.parse().unwrap(),
            }),
        }),
    };
    let rewrite = |path: &str, query: &str| Actions {
        extensions: vec![Ordered {
            order: 1,
            action: Extension::Rewrite(Rewrite {
                host: None,
                path: path.parse().unwrap(),
                query: query.parse().unwrap(),
            }),
        }],
        last: None,
    };
    let three = regex("^/(a+)/(b*)/(c|d)(e?)");
    for actions in [redirect("/${1}", ""), redirect("/", "${2}"), rewrite("/${3}", ""), rewrite("/", "${1}")]
    {
        let found = captures(vec![three.clone()], actions, "GET a.com/aa//dee");
        assert_eq!(found, ["aa", "", "d"]);
    }
    assert_eq!(captures(vec![three.clone()], redirect("/", ""), "GET a.com/aa//d"), ["", "", ""]);
    // The first expression that matches, also behind a wildcard that does.
    let values = vec![regex("^/(x)"), Pattern::glob("/*"), regex("(y)(z)?"), regex("(.)(.)(.)")];
    assert_eq!(captures(values.clone(), redirect("/${1}", ""), "GET a.com/ay"), ["y", "", ""]);
    assert_eq!(captures(values, redirect("/${1}", ""), "GET a.com/a"), ["", "", ""]);
    let path = Template::path();
    assert_eq!(path.captures().count(), 0);
}

// Holds LR-85
#[test]
fn a_rule_with_a_pattern_that_does_not_compile_is_named() {
    let good = rule(vec![path(&["/"])]);
    let bad = |condition| RuleSnapshot { id: "bad".into(), ..rule(vec![condition]) };
    let key = Pair { key: regex("(a"), value: Pattern::glob("a") };
    let value = Pair { key: Pattern::glob("a"), value: regex("(a") };
    let values = FieldCondition { key: "x".into(), values: vec![regex("(a")] };
    for condition in [
        Condition::Host(vec![Pattern::glob("a"), regex("(a")]),
        Condition::Path(vec![regex("(a")]),
        Condition::Header(values.clone()),
        Condition::ResponseHeader(values),
        Condition::QueryString(vec![key]),
        Condition::Cookie(vec![value]),
    ] {
        let error = RuleSet::new(&[good.clone(), bad(condition), good.clone()]).unwrap_err();
        assert_eq!(error.to_string(), r#"rule "bad": "(a": unclosed group"#);
    }
}

#[test]
fn captures_that_are_not_there_are_empty() {
    let captures = Captures([Some((1, 2)), None, Some((2, 40))]);
    let parts = [0, 1, 2, 3, 4, 255].map(|number| captures.of(b"/ab", number));
    assert_eq!(parts, [&b""[..], b"a", b"", b"", b"", b""]);
}

#[test]
fn a_port_is_no_part_of_the_host() {
    let cases = [
        ("a.com", "a.com"),
        ("a.com:80", "a.com"),
        ("a.com:", "a.com"),
        (":80", ""),
        ("", ""),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1", "[2001:db8::1"),
    ];
    for (host, expected) in cases {
        assert_eq!(without_port(host.as_bytes()), expected.as_bytes(), "{host}");
    }
}

#[test]
fn a_set_knows_whether_it_is_empty() {
    assert!(set(&[]).is_empty());
    assert!(!set(&[rule(vec![])]).is_empty());
}
