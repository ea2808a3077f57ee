//! Cross-origin resource sharing (LR-107; the protocol is that of the Fetch standard).

use crate::model::{Cors, Origins};

/// What a client's request says about where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Value of Origin.
    pub origin: &'a [u8],
    /// Value of Access-Control-Request-Method, which a preflight has.
    pub method: Option<&'a [u8]>,
    /// Value of Access-Control-Request-Headers.
    pub headers: Option<&'a [u8]>,
}

/// Appends the header lines of the answer to a preflight; false, and nothing, if it is none or its origin, method or
/// headers are not allowed. Then the request takes its way as any other.
pub fn preflight(out: &mut Vec<u8>, cors: &Cors, asking: &Asking<'_>) -> bool {
    let Some(method) = asking.method else { return false };
    let wanted = asking.headers.unwrap_or_default();
    let mut headers = wanted.split(|&byte| byte == b',').map(|name| name.trim_ascii());
    let are_allowed = headers.all(|name| name.is_empty() || is_listed(&cors.headers, name));
    if !allows(&cors.origins, asking.origin) || !is_listed(&cors.methods, method) || !are_allowed {
        return false;
    }
    push_origin(out, cors, asking.origin);
    // With credentials a browser takes `*` for a name (Fetch standard, section 3.3.5), so what was asked for is echoed.
    push_list(out, "Access-Control-Allow-Methods", &cors.methods, cors.credentials.then_some(method));
    if !wanted.is_empty() {
        push_list(out, "Access-Control-Allow-Headers", &cors.headers, cors.credentials.then_some(wanted));
    }
    out.extend_from_slice(format!("Access-Control-Max-Age: {}\r\n", cors.max_age).as_bytes());
    true
}

/// Appends the header lines of any other response to a request from `origin`; nothing but Vary if it is not allowed.
pub fn response_lines(out: &mut Vec<u8>, cors: &Cors, origin: &[u8]) {
    if !allows(&cors.origins, origin) {
        if !is_public(cors) {
            out.extend_from_slice(b"Vary: Origin\r\n");
        }
        return;
    }
    push_origin(out, cors, origin);
    if !cors.expose.is_empty() {
        push_list(out, "Access-Control-Expose-Headers", &cors.expose, None);
    }
}

/// Names of lines that servers' responses lose, since they are ours to write.
pub const RESPONSE_NAMES: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Whether every origin gets the same answer.
fn is_public(cors: &Cors) -> bool {
    cors.origins == Origins::Any && !cors.credentials
}

fn push_origin(out: &mut Vec<u8>, cors: &Cors, origin: &[u8]) {
    out.extend_from_slice(b"Access-Control-Allow-Origin: ");
    if is_public(cors) {
        out.extend_from_slice(b"*\r\n");
        return;
    }
    out.extend_from_slice(origin);
    out.extend_from_slice(b"\r\nVary: Origin\r\n");
    if cors.credentials {
        out.extend_from_slice(b"Access-Control-Allow-Credentials: true\r\n");
    }
}

fn push_list(out: &mut Vec<u8>, name: &str, list: &[String], instead_of_all: Option<&[u8]>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    match (is_all(list), instead_of_all) {
        (true, Some(asked)) => out.extend_from_slice(asked),
        _ => out.extend_from_slice(list.join(", ").as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

fn is_all(list: &[String]) -> bool {
    matches!(list, [only] if only == "*")
}

fn is_listed(list: &[String], name: &[u8]) -> bool {
    is_all(list) || list.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether `origin` is one of `origins`; a `*.` in one stands for one label.
fn allows(origins: &Origins, origin: &[u8]) -> bool {
    let Origins::Listed(listed) = origins else { return !origin.is_empty() };
    let Some((scheme, host)) = split(origin) else { return false };
    listed.iter().any(|allowed| {
        let Some((allowed_scheme, allowed_host)) = split(allowed.as_bytes()) else { return false };
        if !allowed_scheme.eq_ignore_ascii_case(scheme) {
            return false;
        }
        match allowed_host.strip_prefix(b"*") {
            None => allowed_host.eq_ignore_ascii_case(host),
            Some(rest) => host.len().checked_sub(rest.len()).is_some_and(|length| {
                let label = &host[..length];
                host[length..].eq_ignore_ascii_case(rest)
                    && !label.is_empty()
                    && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            }),
        }
    })
}

fn split(origin: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = origin.windows(3).position(|part| part == b"://")?;
    Some((&origin[..colon], &origin[colon + 3..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Cors {
            origins: if origins == ["*"] { Origins::Any } else { Origins::Listed(text(origins)) },
            methods: text(&["GET", "PUT"]),
            headers: text(&["X-A", "X-B"]),
            expose: text(&["X-C"]),
            credentials: false,
            max_age: 600,
        }
    }

    fn asking<'a>(origin: &'a str, method: &'a str, headers: Option<&'a str>) -> Asking<'a> {
        Asking {
            origin: origin.as_bytes(),
            method: Some(method.as_bytes()),
            headers: headers.map(str::as_bytes),
        }
    }

    fn preflighted(cors: &Cors, asking: &Asking<'_>) -> Option<String> {
        let mut out = Vec::new();
        preflight(&mut out, cors, asking).then(|| String::from_utf8(out).unwrap())
    }

    // Holds LR-107
    #[test]
    fn origins_are_whole_or_one_label_under_a_wildcard() {
        let listed = Origins::Listed(vec!["https://a.example".into(), "http://*.b.example:8080".into()]);
        for (origin, expected) in [
            ("https://a.example", true),
            ("HTTPS://A.Example", true),
            ("http://a.example", false),
            ("https://a.example:443", false),
            ("https://a.example.evil", false),
            ("http://x.b.example:8080", true),
            ("http://x-1.b.example:8080", true),
            ("http://x.y.b.example:8080", false),
            ("http://.b.example:8080", false),
            ("http://b.example:8080", false),
            ("http://x.b.example", false),
            ("http://evil/.b.example:8080", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(allows(&listed, origin.as_bytes()), expected, "{origin}");
        }
        assert!(allows(&Origins::Any, b"null"));
        assert!(!allows(&Origins::Any, b""));
    }

    // Holds LR-107
    #[test]
    fn a_preflight_is_answered_if_all_it_asks_is_allowed() {
        let cors = cors(&["https://a.example"]);
        assert_eq!(
            preflighted(&cors, &asking("https://a.example", "PUT", Some("x-b, X-A"))).unwrap(),
            "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n\
             Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Allow-Headers: X-A, X-B\r\n\
             Access-Control-Max-Age: 600\r\n"
        );
        assert_eq!(
            preflighted(&cors, &asking("https://a.example", "GET", None)).unwrap(),
            "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n\
             Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Max-Age: 600\r\n"
        );
        for (origin, method, headers) in [
            ("https://b.example", "PUT", None),
            ("https://a.example", "DELETE", None),
            ("https://a.example", "PUT", Some("x-a, x-c")),
        ] {
            assert_eq!(preflighted(&cors, &asking(origin, method, headers)), None);
        }
        let simple = Asking { method: None, ..asking("https://a.example", "", None) };
        assert_eq!(preflighted(&cors, &simple), None, "no preflight without a method");
    }

    // Holds LR-107
    #[test]
    fn with_credentials_nothing_is_answered_with_a_star() {
        let all = vec!["*".to_owned()];
        let mut cors = Cors { methods: all.clone(), headers: all, ..cors(&["*"]) };
        let asking = asking("https://a.example", "PATCH", Some("x-any"));
        assert_eq!(
            preflighted(&cors, &asking).unwrap(),
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: *\r\n\
             Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 600\r\n"
        );
        cors.credentials = true;
        assert_eq!(
            preflighted(&cors, &asking).unwrap(),
            "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: PATCH\r\n\
             Access-Control-Allow-Headers: x-any\r\nAccess-Control-Max-Age: 600\r\n"
        );
    }

    // Holds LR-107
    #[test]
    fn other_responses_say_who_may_read_them() {
        let lines = |cors: &Cors, origin: &str| {
            let mut out = Vec::new();
            response_lines(&mut out, cors, origin.as_bytes());
            String::from_utf8(out).unwrap()
        };
        let listed = cors(&["https://a.example"]);
        assert_eq!(
            lines(&listed, "https://a.example"),
            "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n\
             Access-Control-Expose-Headers: X-C\r\n"
        );
        assert_eq!(lines(&listed, "https://b.example"), "Vary: Origin\r\n");
        let open = cors(&["*"]);
        assert_eq!(
            lines(&open, "https://b.example"),
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-C\r\n"
        );
        assert_eq!(lines(&open, ""), "");
    }
}
