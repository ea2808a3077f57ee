use super::*;
use crate::model::{Actions, FieldCondition, Pair, StatusPattern};

struct Lines<'a>(&'a [(&'a str, &'a str)]);

impl Fields for Lines<'_> {
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(known, value)| known.eq_ignore_ascii_case(name) && visit(value.as_bytes()))
    }
}

fn rule(conditions: Vec<Condition>) -> RuleSnapshot {
    RuleSnapshot { id: "r".into(), conditions, actions: Actions { extensions: vec![], last: None } }
}

fn rules(conditions: Vec<Vec<Condition>>) -> RuleSet {
    RuleSet::new(&conditions.into_iter().map(rule).collect::<Vec<_>>()).unwrap()
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

fn regex(text: &str) -> Pattern {
    Pattern::Regex { pattern: text.into(), ignore_case: false }
}

fn request<'a>(host: &'a str, path: &'a str, lines: &'a Lines<'a>) -> RequestView<'a> {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (path, None),
    };
    RequestView {
        host: host.as_bytes(),
        path: path.as_bytes(),
        query,
        method: b"GET",
        client: "192.0.2.9".parse().unwrap(),
        fields: lines,
    }
}

#[track_caller]
fn finds(set: &RuleSet, host: &str, path: &str, expected: Option<usize>) {
    let found = set.find(&request(host, path, &Lines(&[]))).map(|found| found.index);
    assert_eq!(found, expected, "{host}{path}");
}

// Holds LR-63, LR-64
#[test]
fn the_first_that_matches_counts_however_special_a_later_one_is() {
    let set = rules(vec![vec![path(&["/*"])], vec![path(&["/api/*"])], vec![path(&["/api/x"])]]);
    finds(&set, "a", "/api/x", Some(0));
    let set = rules(vec![vec![path(&["/api/x"])], vec![path(&["/api/*"])], vec![path(&["/*"])]]);
    finds(&set, "a", "/api/x", Some(0));
    finds(&set, "a", "/api/y", Some(1));
    finds(&set, "a", "/", Some(2));
    finds(&rules(vec![vec![path(&["/api"])]]), "a", "/", None);
    finds(&rules(vec![]), "a", "/", None);
}

// Holds LR-70
#[test]
fn all_conditions_must_hold_and_of_one_any_value() {
    let set = rules(vec![
        vec![host(&["a.example.com", "b.example.com"]), path(&["/x", "/y/*"])],
        vec![host(&["a.example.com"])],
        vec![path(&["/x"])],
    ]);
    finds(&set, "a.example.com", "/x", Some(0));
    finds(&set, "b.example.com", "/y/z", Some(0));
    finds(&set, "b.example.com", "/z", None);
    finds(&set, "a.example.com", "/z", Some(1));
    finds(&set, "c.example.com", "/x", Some(2));
}

// Holds LR-80, LR-82
#[test]
fn hosts_are_compared_without_case_and_port() {
    let set = rules(vec![
        vec![host(&["*.example.com"])],
        vec![host(&["example.com"])],
        vec![host(&["www.*"])],
        vec![Condition::Host(vec![regex("^www2.Example.net$")])],
        vec![host(&["[2001:db8::1]"])],
    ]);
    finds(&set, "a.b.example.com", "/", Some(0));
    finds(&set, "A.Example.COM:8080", "/", Some(0));
    finds(&set, "example.com", "/", Some(1));
    finds(&set, "EXAMPLE.com:80", "/", Some(1));
    finds(&set, "www.other.org", "/", Some(2));
    finds(&set, "WWW2.example.NET", "/", Some(3));
    finds(&set, "[2001:DB8::1]:443", "/", Some(4));
    finds(&set, "[2001:db8::1]", "/", Some(4));
    finds(&set, "", "/", None);
    finds(&set, &format!("{}.example.COM", "x".repeat(300)), "/", Some(0));
}

// Holds LR-81, LR-83
#[test]
fn paths_are_compared_as_they_come() {
    let set = rules(vec![vec![path(&["/Api"])], vec![path(&["/a/../b"])], vec![path(&["/%41"])]]);
    finds(&set, "a", "/Api?x=/api", Some(0));
    finds(&set, "a", "/api", None);
    finds(&set, "a", "/a/../b", Some(1));
    finds(&set, "a", "/b", None);
    finds(&set, "a", "/%41", Some(2));
    finds(&set, "a", "/A", None);
}

// Holds LR-98
#[test]
fn a_regular_expression_on_the_path_captures() {
    let set =
        rules(vec![vec![Condition::Path(vec![Pattern::glob("/plain"), regex("^/a/([0-9]+)/(x)?(.*)$")])]]);
    let captured = |path: &'static str| {
        let found = set.find(&request("h", path, &Lines(&[]))).unwrap();
        [1, 2, 3, 4, 0]
            .map(|number| String::from_utf8(found.captures.of(path.as_bytes(), number).into()).unwrap())
    };
    assert_eq!(captured("/a/12/xyz"), ["12", "x", "yz", "", ""]);
    assert_eq!(captured("/a/12/yz"), ["12", "", "yz", "", ""]);
    assert_eq!(captured("/plain"), ["", "", "", "", ""]);
}

// Holds LR-86
#[test]
fn any_value_of_a_parameter_or_header_suffices() {
    let pair = |key: &str, value: &str| Pair { key: Pattern::glob(key), value: Pattern::glob(value) };
    let header = |key: &str, values: &[&str]| {
        Condition::Header(FieldCondition { key: key.into(), values: globs(values) })
    };
    let set = rules(vec![
        vec![Condition::QueryString(vec![pair("a b", "c*"), pair("e", "")])],
        vec![header("X-One", &["1", "one*"]), header("X-Two", &["2"])],
        vec![Condition::Cookie(vec![pair("session", "blue?")])],
    ]);
    let index = |path: &str, lines: &[(&str, &str)]| {
        set.find(&request("h", path, &Lines(lines))).map(|found| found.index)
    };
    assert_eq!(index("/?a+b=xc&a%20b=cx", &[]), Some(0));
    assert_eq!(index("/?a%20b=C", &[]), None);
    assert_eq!(index("/?&&e", &[]), Some(0));
    assert_eq!(index("/?e=", &[]), Some(0));
    assert_eq!(index("/?e=1", &[]), None);
    assert_eq!(index("/", &[("x-one", "0"), ("X-ONE", "one!"), ("x-two", "2")]), Some(1));
    assert_eq!(index("/", &[("x-one", "1"), ("x-two", "1")]), None);
    assert_eq!(index("/", &[("x-two", "2")]), None);
    assert_eq!(index("/", &[("Cookie", "a=b; session=blue1")]), Some(2));
    assert_eq!(index("/", &[("Cookie", "session=green"), ("cookie", "session=blue2;")]), Some(2));
    assert_eq!(index("/", &[("Cookie", "session=blue12")]), None);
    assert_eq!(index("/", &[("Cookie", "xsession=blue1")]), None);
}

// Holds LR-87
#[test]
fn methods_and_sources() {
    let set = rules(vec![
        vec![Condition::Method(vec!["PUT".into(), "HEAD".into()])],
        vec![Condition::SourceIp(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()])],
    ]);
    let index = |method: &str, client: &str| {
        let lines = Lines(&[]);
        let request = request("h", "/", &lines);
        let client = client.parse().unwrap();
        set.find(&RequestView { method: method.as_bytes(), client, ..request }).map(|found| found.index)
    };
    assert_eq!(index("HEAD", "198.51.100.1"), Some(0));
    assert_eq!(index("head", "198.51.100.1"), None);
    assert_eq!(index("GET", "192.0.2.255"), Some(1));
    assert_eq!(index("GET", "192.0.3.0"), None);
    assert_eq!(index("GET", "::ffff:192.0.2.1"), Some(1));
    assert_eq!(index("GET", "2001:db8::1"), Some(1));
}

// Holds LR-69
#[test]
fn response_rules_look_at_the_response_and_at_its_request() {
    let set = rules(vec![
        vec![
            path(&["/a*"]),
            Condition::ResponseStatusCode(vec![StatusPattern::Code(404), StatusPattern::Class(5)]),
        ],
        vec![Condition::ResponseHeader(FieldCondition { key: "X-Kind".into(), values: globs(&["b*"]) })],
    ]);
    let index = |path: &str, status: u16, lines: &[(&str, &str)]| {
        let none = Lines(&[("x-kind", "b")]);
        set.find_response(&request("h", path, &none), status, &Lines(lines)).map(|found| found.index)
    };
    assert_eq!(index("/a", 404, &[]), Some(0));
    assert_eq!(index("/a", 599, &[]), Some(0));
    assert_eq!(index("/a", 403, &[]), None);
    assert_eq!(index("/b", 404, &[]), None);
    assert_eq!(index("/b", 200, &[("X-KIND", "bad")]), Some(1));
    assert_eq!(index("/b", 200, &[("X-Kind", "good")]), None);
    assert_eq!(set.find(&request("h", "/a", &Lines(&[("x-kind", "b")]))), None, "there is no response");
}

#[test]
fn says_which_rule_has_a_wrong_pattern() {
    let wrong = |conditions: Vec<Condition>| RuleSet::new(&[rule(conditions)]).unwrap_err().to_string();
    assert_eq!(wrong(vec![Condition::Path(vec![regex("(")])]), "rule \"r\": unclosed group");
    assert_eq!(wrong(vec![Condition::Host(vec![regex("(")])]), "rule \"r\": unclosed group");
    let header = FieldCondition { key: "a".into(), values: vec![regex("(")] };
    assert_eq!(wrong(vec![Condition::Header(header)]), "rule \"r\": unclosed group");
}

#[test]
fn a_port_is_no_part_of_a_host() {
    for (host, expected) in
        [("a", "a"), ("a:80", "a"), ("a:", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")]
    {
        assert_eq!(without_port(host.as_bytes()), expected.as_bytes());
    }
}
