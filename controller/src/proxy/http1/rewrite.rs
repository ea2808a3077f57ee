//! Heads as they are passed on: what a received head becomes for the other side.
//!
//! Lines that stay are copied verbatim and in runs; hop-by-hop lines (LR-46) are left out. Verbatim is safe because a
//! head that two parsers could read differently was refused. What the grammar allows and parsers yet disagree on is
//! white space around a value (nginx knows no `Transfer-Encoding:<tab>chunked`): lines that frame the message are
//! written anew where theirs is unusual.

use super::Version;
use super::field::{Field, Name, Span, list};
use super::head::{RequestHead, ResponseHead};
use crate::model::XForwardedFor;

/// What a request becomes for a server.
#[derive(Clone, Copy, Debug)]
pub struct ToServer<'a> {
    /// The client's address as text.
    pub client: &'a [u8],
    /// What becomes of X-Forwarded-For (LR-40); `client` is what is appended.
    pub x_forwarded_for: XForwardedFor,
    /// False asks the server to close after its response (SG-102).
    pub keep_alive: bool,
    /// Host for a request that has none (HTTP/1.0), since HTTP/1.1 demands one.
    pub default_host: &'a [u8],
    /// The server is a function (SG-70).
    pub function: Option<ToFunction<'a>>,
    /// What lines that stay become.
    pub edits: Edits<'a>,
    /// Asked for in place of the request's path and query (LR-101).
    pub path: Option<&'a [u8]>,
    /// Asked for in place of the request's host (LR-101).
    pub host: Option<&'a [u8]>,
    /// Lines of these names, in any case, end here. Never Host, nor a name that frames the message.
    pub hidden: &'a [Box<[u8]>],
    /// Lines of ours, each with its CR LF.
    pub lines: &'a [u8],
    /// Lines in which `mark` follows what the client's say, by name; those should be hidden.
    pub marked: &'a [String],
    /// See there.
    pub mark: &'a [u8],
    /// Whether the client's Upgrade passes, and with it the connection afterwards (LR-130).
    pub upgrade: bool,
}

impl<'a> ToServer<'a> {
    /// For a client at `client`, everything else as it came.
    pub fn new(client: &'a [u8], default_host: &'a [u8]) -> ToServer<'a> {
        ToServer {
            client,
            x_forwarded_for: XForwardedFor::Append,
            keep_alive: true,
            default_host,
            function: None,
            edits: Edits::default(),
            path: None,
            host: None,
            hidden: &[],
            lines: b"",
            marked: &[],
            mark: b"",
            upgrade: false,
        }
    }
}

/// Where requests to a function go. The client's Host becomes X-Forwarded-Host, in place of one the client sent.
#[derive(Clone, Copy, Debug)]
pub struct ToFunction<'a> {
    /// Sent as Host.
    pub authority: &'a [u8],
    /// Put before the path; no `/` at its end.
    pub path_prefix: &'a [u8],
}

/// Parts of header lines that are written otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'a> {
    /// The parts, in order and apart from each other, each within one line; an empty one is a place.
    pub parts: &'a [Span],
    /// What stands in their stead.
    pub text: &'a [u8],
}

/// What a response becomes for a client.
#[derive(Clone, Copy, Debug)]
pub struct ToClient<'a> {
    /// Version the client speaks.
    pub version: Version,
    /// Whether the connection to the client goes on after this response.
    pub keep_alive: bool,
    /// How the body reaches the client.
    pub shape: Shape,
    /// Whether the body is another than the server's, so that its length is unknown.
    pub is_changed: bool,
    /// What lines that stay become.
    pub edits: Edits<'a>,
    /// Lines of these names, in any case, end here.
    pub hidden: &'a [&'a [u8]],
    /// Lines of ours, each with its CR LF.
    pub lines: &'a [u8],
    /// Whether the server's Upgrade passes.
    pub upgrade: bool,
}

impl ToClient<'_> {
    /// A response whose body passes as it comes, everything else unchanged.
    pub fn new(version: Version, keep_alive: bool) -> ToClient<'static> {
        ToClient {
            version,
            keep_alive,
            shape: Shape::Verbatim,
            is_changed: false,
            edits: Edits::default(),
            hidden: &[],
            lines: b"",
            upgrade: false,
        }
    }
}

/// How a response's body reaches a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As the server framed it.
    Verbatim,
    /// The data alone: the client knows no chunks (HTTP/1.0), or its protocol frames bodies by itself.
    Data,
    /// In chunks of ours.
    Chunked,
}

/// Appends to `out` the request head for a server. `head` is what `request` was parsed from.
pub fn write_request(out: &mut Vec<u8>, request: &RequestHead, head: &[u8], to: &ToServer<'_>) {
    out.extend_from_slice(request.method.of(head));
    out.push(b' ');
    let mut path = to.path.unwrap_or_else(|| request.path.of(head));
    if path.is_empty() && request.method.of(head) == b"OPTIONS" {
        // An absolute form without a path means the server as a whole (RFC 9112 section 3.2.4).
        path = b"*";
    }
    if let Some(function) = &to.function {
        out.extend_from_slice(function.path_prefix);
        // `*` is the server as a whole (RFC 9110 section 9.3.7), and of that the function is all there is.
        path = if path == b"*" { b"/" } else { path };
    }
    if !path.starts_with(b"/") && path != b"*" {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host = None;
    if let Some(function) = &to.function {
        host = Some(function.authority);
        let asked = request.authority.unwrap_or(request.host).of(head);
        if !asked.is_empty() {
            push_line(out, b"X-Forwarded-Host: ", asked);
        }
    } else if let Some(rewritten) = to.host {
        host = Some(rewritten);
    } else if let Some(authority) = request.authority {
        host = Some(authority.of(head));
    } else if request.host.is_empty() {
        host = Some(to.default_host);
    }
    if let Some(host) = host {
        push_line(out, b"Host: ", host);
    }
    let nominated = nominates(request.fields(), head);
    let mut framing = FramingLines::default();
    let mut trailers = false;
    let mut forwarded = false;
    copy_lines(out, request.fields(), head, to.edits, |field| match field.name {
        Name::Connection | Name::KeepAlive | Name::ProxyConnection => false,
        Name::Upgrade => to.upgrade,
        Name::Host => host.is_none(),
        Name::Other if to.function.is_some() && is_forwarded_host(field, head) => false,
        Name::Te => {
            trailers |= list(field.value.of(head)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            false
        }
        Name::ContentLength | Name::TransferEncoding => framing.keeps(field, head),
        Name::XForwardedFor => {
            forwarded = true;
            to.x_forwarded_for == XForwardedFor::Pass
        }
        _ => {
            (!nominated || !is_nominated(request.fields(), field, head)) && !is_hidden(to.hidden, field, head)
        }
    });
    framing.push_missing(out, head);
    for name in to.marked {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        push_earlier(out, request.fields(), head, |field| {
            field.name_span.of(head).eq_ignore_ascii_case(name.as_bytes())
        });
        out.extend_from_slice(to.mark);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(to.lines);
    if to.x_forwarded_for == XForwardedFor::Append {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if forwarded {
            push_earlier(out, request.fields(), head, |field| field.name == Name::XForwardedFor);
        }
        out.extend_from_slice(to.client);
        out.extend_from_slice(b"\r\n");
    }
    if trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    out.extend_from_slice(match (to.upgrade, trailers, to.keep_alive) {
        (true, true, _) => b"Connection: Upgrade, TE\r\n",
        (true, false, _) => b"Connection: Upgrade\r\n",
        (false, true, true) => b"Connection: TE\r\n",
        (false, true, false) => b"Connection: close, TE\r\n",
        (false, false, false) => b"Connection: close\r\n",
        (false, false, true) => b"",
    });
    out.extend_from_slice(b"\r\n");
}

/// Appends to `out` the response head for a client. `head` is what `response` was parsed from.
pub fn write_response(out: &mut Vec<u8>, response: &ResponseHead, head: &[u8], to: &ToClient<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(response.reason.of(head));
    out.extend_from_slice(b"\r\n");
    let nominated = nominates(response.fields(), head);
    let lengthless = response.is_interim() || response.status == 204;
    let mut framing = FramingLines::default();
    copy_lines(out, response.fields(), head, to.edits, |field| match field.name {
        Name::Connection | Name::KeepAlive | Name::ProxyConnection | Name::Te => false,
        Name::Upgrade => to.upgrade,
        Name::ContentLength => !lengthless && !to.is_changed && framing.keeps(field, head),
        Name::TransferEncoding => to.shape == Shape::Verbatim && !lengthless && framing.keeps(field, head),
        _ => {
            (!nominated || !is_nominated(response.fields(), field, head))
                && !is_hidden(to.hidden, field, head)
        }
    });
    framing.push_missing(out, head);
    out.extend_from_slice(to.lines);
    if to.shape == Shape::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if to.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    if !response.is_interim() {
        match (to.version, to.keep_alive) {
            (Version::Http11, true) => {}
            (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The one line that says how long a message is: equal lengths are written once.
#[derive(Default)]
struct FramingLines {
    seen: bool,
    missing: Option<Field>,
}

impl FramingLines {
    /// Whether `field` is copied as it is; remembers it if it is to be written anew.
    fn keeps(&mut self, field: &Field, head: &[u8]) -> bool {
        if std::mem::replace(&mut self.seen, true) {
            return false;
        }
        let before = &head[field.name_span.end as usize..field.value.start as usize];
        let is_plain = before == b": " && field.value.end + 2 == field.line.end;
        if !is_plain {
            self.missing = Some(*field);
        }
        is_plain
    }

    fn push_missing(&self, out: &mut Vec<u8>, head: &[u8]) {
        let Some(field) = self.missing else { return };
        let name: &[u8] =
            if field.name == Name::ContentLength { b"Content-Length: " } else { b"Transfer-Encoding: " };
        push_line(out, name, field.value.of(head));
    }
}

/// Copies the lines `keeps` approves of, neighbours in one go.
fn copy_lines(
    out: &mut Vec<u8>,
    fields: &[Field],
    head: &[u8],
    edits: Edits<'_>,
    mut keeps: impl FnMut(&Field) -> bool,
) {
    let mut run: Option<(u32, u32)> = None;
    for field in fields {
        if keeps(field) {
            run = Some((run.map_or(field.line.start, |(start, _)| start), field.line.end));
        } else if let Some((start, end)) = run.take() {
            copy_edited(out, head, Span { start, end }, edits);
        }
    }
    if let Some((start, end)) = run {
        copy_edited(out, head, Span { start, end }, edits);
    }
}

/// Copies a run of lines. Edits of lines outside it, which do not stay, are passed over.
fn copy_edited(out: &mut Vec<u8>, head: &[u8], run: Span, edits: Edits<'_>) {
    let mut start = run.start;
    let within = |part: &&Span| run.start <= part.start && part.end <= run.end;
    for part in edits.parts.iter().filter(within) {
        out.extend_from_slice(&head[start as usize..part.start as usize]);
        out.extend_from_slice(edits.text);
        start = part.end;
    }
    out.extend_from_slice(&head[start as usize..run.end as usize]);
}

/// Appends the values of the lines `is_meant` finds, for another one to follow.
fn push_earlier(out: &mut Vec<u8>, fields: &[Field], head: &[u8], is_meant: impl Fn(&Field) -> bool) {
    let values = fields.iter().filter(|field| is_meant(field)).map(|field| field.value.of(head));
    for value in values.filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// Whether a Connection field names other header fields.
fn nominates(fields: &[Field], head: &[u8]) -> bool {
    fields.iter().filter(|field| field.name == Name::Connection).any(|field| {
        list(field.value.of(head)).any(|option| {
            !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
        })
    })
}

/// Whether a Connection field names this one, which therefore ends here. Host, framing and X-Forwarded-For never come
/// here: a client must not be able to take them away.
fn is_nominated(fields: &[Field], field: &Field, head: &[u8]) -> bool {
    let name = field.name_span.of(head);
    fields
        .iter()
        .filter(|connection| connection.name == Name::Connection)
        .any(|connection| list(connection.value.of(head)).any(|option| option.eq_ignore_ascii_case(name)))
}

fn is_hidden(hidden: &[impl AsRef<[u8]>], field: &Field, head: &[u8]) -> bool {
    let name = field.name_span.of(head);
    hidden.iter().any(|hidden| hidden.as_ref().eq_ignore_ascii_case(name))
}

fn is_forwarded_host(field: &Field, head: &[u8]) -> bool {
    field.name_span.of(head).eq_ignore_ascii_case(b"x-forwarded-host")
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
