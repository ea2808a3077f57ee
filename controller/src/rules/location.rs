//! Where a redirect leads, and what a rewrite makes of a request (LR-97 to LR-101).

use super::{Captures, without_port};
use crate::model::{Piece, Redirect, Rewrite, Template};

/// Longest text that templates make, bytes: captures and the client's own path can be repeated in them.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whether over TLS.
    pub https: bool,
    /// Host, perhaps with a port.
    pub host: &'a [u8],
    /// Port of the listener it came to.
    pub port: u16,
    /// Path, raw.
    pub path: &'a [u8],
    /// Query without the `?`; empty if there is none.
    pub query: &'a [u8],
}

impl<'a> Asked<'a> {
    fn host_name(&self) -> &'a [u8] {
        without_port(self.host)
    }

    /// The port the client named, or came to.
    fn asked_port(&self) -> u16 {
        let name = self.host_name();
        let named = self.host.get(name.len() + 1..).and_then(|port| std::str::from_utf8(port).ok());
        named.and_then(|port| port.parse().ok()).unwrap_or(self.port)
    }
}

fn scheme(https: bool) -> &'static [u8] {
    if https { b"https" } else { b"http" }
}

/// Appends the value of Location (LR-97, LR-99). What a URI cannot hold of path and query is percent-encoded; what is
/// encoded already stays as it is. False if it would be unreasonably long, or `asked` names no host; then
/// what was appended means nothing.
pub fn redirect_location(
    out: &mut Vec<u8>,
    redirect: &Redirect,
    asked: &Asked<'_>,
    captures: &Captures,
) -> bool {
    let https = redirect.https.unwrap_or(asked.https);
    let host = redirect.host.as_ref().map_or(asked.host_name(), |host| host.as_bytes());
    let port = redirect.port.unwrap_or_else(|| {
        // Who is sent to the other protocol, and to no port in particular, is sent to that protocol's.
        let changes = https != asked.https;
        if changes { default_port(https) } else { asked.asked_port() }
    });
    out.extend_from_slice(scheme(https));
    out.extend_from_slice(b"://");
    out.extend_from_slice(host);
    if port != default_port(https) {
        out.extend_from_slice(format!(":{port}").as_bytes());
    }
    let start = out.len();
    push(out, &redirect.path, asked, captures);
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
    let mut query = Vec::new();
    push(&mut query, &redirect.query, asked, captures);
    if !query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&query);
    }
    percent_encode(out, start);
    !host.is_empty() && out.len() <= TEXT_BYTES_MAX
}

/// Appends the path and query that a server is asked for (LR-101); as [`redirect_location`].
pub fn rewrite_target(out: &mut Vec<u8>, rewrite: &Rewrite, asked: &Asked<'_>, captures: &Captures) -> bool {
    let start = out.len();
    push(out, &rewrite.path, asked, captures);
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
    let mut query = Vec::new();
    push(&mut query, &rewrite.query, asked, captures);
    if !query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&query);
    }
    out.len() - start <= TEXT_BYTES_MAX
}

/// Encodes what neither a path nor a query may hold (RFC 3986 sections 3.3 and 3.4) from `start` on.
fn percent_encode(out: &mut Vec<u8>, start: usize) {
    let is_allowed = |text: &[u8], at: usize| match text[at] {
        // Else it begins no encoded byte.
        b'%' => text.get(at + 1..at + 3).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte),
    };
    let text = &out[start..];
    let Some(first) = (0..text.len()).find(|&at| !is_allowed(text, at)) else { return };
    let rest = out.split_off(start + first);
    for (at, &byte) in rest.iter().enumerate() {
        if is_allowed(&rest, at) {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn push(out: &mut Vec<u8>, template: &Template, asked: &Asked<'_>, captures: &Captures) {
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Protocol => out.extend_from_slice(scheme(asked.https)),
            Piece::Host => out.extend_from_slice(asked.host_name()),
            Piece::Port => out.extend_from_slice(asked.asked_port().to_string().as_bytes()),
            Piece::Path => out.extend_from_slice(asked.path),
            Piece::Query => out.extend_from_slice(asked.query),
            Piece::Capture(number) => out.extend_from_slice(captures.of(asked.path, *number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked<'static> {
        Asked { https: false, host: b"www.example.com", port: 80, path: b"/a/b", query: b"c=d" }
    }

    fn redirect() -> Redirect {
        Redirect {
            status: 301,
            https: None,
            host: None,
            port: None,
            path: Template::path(),
            query: Template::query(),
        }
    }

    #[track_caller]
    fn leads(redirect: &Redirect, asked: &Asked<'_>, expected: &str) {
        let mut out = Vec::new();
        assert!(redirect_location(&mut out, redirect, asked, &Captures::default()));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    // Holds LR-97, LR-99
    #[test]
    fn parts_that_are_not_named_stay() {
        leads(&redirect(), &asked(), "http://www.example.com/a/b?c=d");
        leads(&Redirect { https: Some(true), ..redirect() }, &asked(), "https://www.example.com/a/b?c=d");
        leads(
            &Redirect { https: Some(true), ..redirect() },
            &Asked { host: b"www.example.com:8080", port: 8080, ..asked() },
            "https://www.example.com/a/b?c=d",
        );
        leads(
            &Redirect { https: Some(true), port: Some(8443), ..redirect() },
            &asked(),
            "https://www.example.com:8443/a/b?c=d",
        );
        leads(&Redirect { port: Some(443), ..redirect() }, &asked(), "http://www.example.com:443/a/b?c=d");
        leads(
            &Redirect { host: Some("new.example".into()), ..redirect() },
            &asked(),
            "http://new.example/a/b?c=d",
        );
        leads(
            &redirect(),
            &Asked { host: b"www.example.com:8080", port: 80, ..asked() },
            "http://www.example.com:8080/a/b?c=d",
        );
        leads(&redirect(), &Asked { port: 8080, ..asked() }, "http://www.example.com:8080/a/b?c=d");
        leads(&redirect(), &Asked { host: b"[2001:db8::1]", ..asked() }, "http://[2001:db8::1]/a/b?c=d");
        leads(&redirect(), &Asked { query: b"", ..asked() }, "http://www.example.com/a/b");
        leads(&redirect(), &Asked { path: b"", ..asked() }, "http://www.example.com/?c=d");
    }

    // Holds LR-97
    #[test]
    fn variables_stand_for_what_was_asked() {
        let path = "/${protocol}/${host}/${port}${path}".parse().unwrap();
        let query: Template = "q=${query}&h=${host}".parse().unwrap();
        leads(
            &Redirect { path, query, ..redirect() },
            &asked(),
            "http://www.example.com/http/www.example.com/80/a/b?q=c=d&h=www.example.com",
        );
    }

    // Holds LR-97
    #[test]
    fn what_a_uri_cannot_hold_is_encoded_once() {
        let leads_to = |path: &[u8], query: &[u8], expected: &str| {
            leads(
                &redirect(),
                &Asked { path, query, ..asked() },
                &format!("http://www.example.com{expected}"),
            );
        };
        leads_to(b"/caf\xc3\xa9/\xff", b"q=\xe4", "/caf%C3%A9/%FF?q=%E4");
        leads_to(b"/a%20b/%c3%a9", b"x=%2f", "/a%20b/%c3%a9?x=%2f");
        // A lone percent sign, and those too near to the end.
        leads_to(b"/100%/%zz/%4", b"%", "/100%25/%25zz/%254?%25");
        leads_to(b"/\"<>\\^`{|}[]", b"#", "/%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D?%23");
        let allowed = "/-._~!$&'()*+,;=:@09azAZ";
        leads_to(allowed.as_bytes(), b"a=b/?c", &format!("{allowed}?a=b/?c"));
        // Whatever the bytes, encoding what is encoded changes nothing.
        let every: Vec<u8> = (0..=255).collect();
        let mut once = every.clone();
        percent_encode(&mut once, 7);
        assert!(once[7..].iter().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(once[..7], every[..7]);
        let mut twice = once.clone();
        percent_encode(&mut twice, 7);
        assert_eq!(twice, once);
    }

    #[test]
    fn a_host_must_be_known() {
        let mut out = Vec::new();
        let nowhere = Asked { host: b"", ..asked() };
        assert!(!redirect_location(&mut out, &redirect(), &nowhere, &Captures::default()));
    }

    #[test]
    fn what_templates_make_is_at_most_64_kb() {
        let fits = |made: usize| {
            let path = vec![b'/'; made / 2];
            let asked = Asked { path: &path, ..asked() };
            let template: Template = "${path}${path}".parse().unwrap();
            let rewrite = Rewrite { host: None, path: template.clone(), query: Template(vec![]) };
            // What was there before does not count.
            let rewritten = rewrite_target(&mut b"GET ".to_vec(), &rewrite, &asked, &Captures::default());
            let redirect = Redirect { path: template, query: Template(vec![]), ..redirect() };
            let before = "http://www.example.com".len();
            let path = vec![b'/'; made - before];
            let asked = Asked { path: &path, ..asked };
            let redirect = Redirect { path: Template::path(), ..redirect };
            (rewritten, redirect_location(&mut Vec::new(), &redirect, &asked, &Captures::default()))
        };
        assert_eq!(fits(64 * 1024), (true, true));
        assert_eq!(fits(64 * 1024 + 2), (false, false));
    }

    // Holds LR-101
    #[test]
    fn a_rewrite_changes_path_and_query() {
        let rewritten = |path: &str, query: &str| {
            let rewrite = Rewrite { host: None, path: path.parse().unwrap(), query: query.parse().unwrap() };
            let mut out = b"GET ".to_vec();
            assert!(rewrite_target(&mut out, &rewrite, &asked(), &Captures::default()));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(rewritten("${path}", "${query}"), "GET /a/b?c=d");
        assert_eq!(rewritten("/new${path}", ""), "GET /new/a/b");
        assert_eq!(rewritten("new", "x=${host}"), "GET /new?x=www.example.com");
    }
}
