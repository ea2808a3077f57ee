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

/// Appends the value of Location (LR-97, LR-99). False if it would be unreasonably long, or `asked` names no host; then
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
