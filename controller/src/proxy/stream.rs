//! One request of a multiplexed connection: what HTTP/2 and HTTP/3 have in common.
//!
//! The request's head reaches the engine as the HTTP/1.1 head that says the same, so that one parser, one set of rules
//! and one writer serve all versions; body, trailers and response go through [`Stream`].

use super::http1::field::{Name, is_host, is_target, is_token};
use super::http1::rewrite::push_number;
use super::http1::{HEAD_LIMIT, Refusal};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::{self, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Longest method, in bytes; the longest registered one has 17.
const METHOD_LIMIT: usize = 64;

/// One request as its connection hands it over.
pub struct Incoming {
    /// The HTTP/1.1 head that says the same ([`http1_head`]); as far as it was written if the request is refused.
    pub head: Vec<u8>,
    /// Why the request is not accepted, which is still to be answered and logged.
    pub refusal: Option<Refusal>,
    /// Body, trailers and response.
    pub stream: Rc<dyn Stream>,
}

/// A client's stream, from the request's head on. One task polls it; body and response may be polled in turn. Flow
/// control is the implementation's: what is taken from the body opens the client's window again, and a write takes no
/// more than the client's window lets it.
pub trait Stream {
    /// The next bytes of the request's body, never empty; `None` at its end. An error means that the client broke off.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// What follows the body, after its end.
    fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<HeaderMap>>>;

    /// Sends the head of a response, or of an interim one (1xx). `ends`: nothing follows it. It is on its way with the
    /// next write or the end.
    fn send_head(&self, head: Response<()>, ends: bool) -> io::Result<()>;

    /// Sends some of `bytes`, which are not empty: how many.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ends a response whose head did not, with trailers if there are any, which are taken. Polled until it is ready.
    fn poll_finish(&self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>>;

    /// Breaks the stream off, so that the client cannot take what it has for the whole response.
    fn reset(&self, reason: Reset);

    /// Ready once the client gave the request up: it reset the stream, or its connection is gone.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Why a stream is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// An error on our side or the server's (INTERNAL_ERROR, H3_INTERNAL_ERROR).
    Internal,
    /// The rest of the request is of no interest; the response is whole (NO_ERROR, H3_NO_ERROR).
    NoError,
    /// What the client sent breaks the protocol (PROTOCOL_ERROR, H3_MESSAGE_ERROR).
    Protocol,
}

/// Appends to `out` the HTTP/1.1 head of a request whose pseudo-header fields are the first four and whose other fields
/// are `fields`, whose names are lower-case since the field section was decoded. `ends`: no body follows.
///
/// As strict as RFC 9113 section 8.2 and 8.3 and RFC 9114 section 4.2 and 4.3: no connection-specific field, `te` only
/// `trailers`, one authority, a path that is absolute or `*` for OPTIONS, one Content-Length. Cookie crumbs become one
/// line; a body of unknown length becomes chunked. Path and authority are within HTTP's grammar, since bytes that end a
/// word or line would say something else in HTTP/1.1; what is not allowed in values is left to
/// [`super::http1::head::RequestHead::parse`], which reads every head.
///
/// Errors: the request is malformed, too large (LR-50), or of a method not allowed (LR-51). `out` then holds as much of
/// the head as was written, which may be parsed for the log.
pub fn http1_head(
    out: &mut Vec<u8>,
    method: &[u8],
    scheme: Option<&[u8]>,
    authority: Option<&[u8]>,
    path: Option<&[u8]>,
    fields: &HeaderMap,
    ends: bool,
) -> Result<(), Refusal> {
    if method.len() > METHOD_LIMIT || !is_token(method) {
        return Err(Refusal::StartLine);
    }
    if matches!(method, b"TRACE" | b"CONNECT") {
        return Err(Refusal::Method);
    }
    let path = path.ok_or(Refusal::Target)?;
    if path.len() > HEAD_LIMIT {
        return Err(Refusal::TargetTooLong);
    }
    let is_http =
        |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
    let is_path = path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS");
    if !scheme.is_none_or(is_http) || !is_path || !is_target(path) {
        return Err(Refusal::Target);
    }
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let block = out.len();
    push_line(out, b"Host", host(authority, fields)?);
    let mut length: Option<&[u8]> = None;
    let mut has_cookie = false;
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        check_value(value)?;
        match Name::of(name) {
            Name::Host => continue,
            Name::Cookie => {
                // Fields of one name follow each other, but lines already written stay where they are.
                has_cookie = true;
                continue;
            }
            Name::ContentLength => {
                if length.is_some_and(|before| before != value) {
                    return Err(Refusal::Length);
                }
                length = Some(value);
                continue;
            }
            Name::Te if value == b"trailers" => {}
            Name::Te => return Err(Refusal::ConnectionField),
            found if is_of_connection(found) => return Err(Refusal::ConnectionField),
            _ => {}
        }
        push_line(out, name, value);
        if out.len() - block > HEAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
    }
    if has_cookie {
        out.extend_from_slice(b"cookie: ");
        for (index, crumb) in fields.get_all(http::header::COOKIE).iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    match length {
        Some(length) if ends && length.iter().any(|&digit| digit != b'0') => return Err(Refusal::Length),
        Some(length) => push_line(out, b"Content-Length", length),
        None if !ends => push_line(out, b"Transfer-Encoding", b"chunked"),
        None => {}
    }
    out.extend_from_slice(b"\r\n");
    if out.len() - block > HEAD_LIMIT { Err(Refusal::TooLarge) } else { Ok(()) }
}

/// The one value of Host: `authority` and the field may both be there, and then say the same.
fn host<'a>(authority: Option<&'a [u8]>, fields: &'a HeaderMap) -> Result<&'a [u8], Refusal> {
    let mut hosts = fields.get_all(http::header::HOST).iter();
    let host = match (authority, hosts.next().map(HeaderValue::as_bytes), hosts.next()) {
        (Some(authority), None, _) => authority,
        (None, Some(host), None) => host,
        (Some(authority), Some(host), None) if authority.eq_ignore_ascii_case(host) => authority,
        _ => return Err(Refusal::Host),
    };
    if is_host(host) { Ok(host) } else { Err(Refusal::Host) }
}

/// Fields that only mean something to one HTTP/1.1 connection (RFC 9113 section 8.2.2).
fn is_of_connection(name: Name) -> bool {
    use Name::{Connection, KeepAlive, ProxyConnection, TransferEncoding, Upgrade};
    matches!(name, Connection | KeepAlive | ProxyConnection | TransferEncoding | Upgrade)
}

/// White space around a value was taken off in HTTP/1.1; here it is an error (RFC 9113 section 8.2.1).
fn check_value(value: &[u8]) -> Result<(), Refusal> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_space(value.first()) || is_space(value.last()) { Err(Refusal::Value) } else { Ok(()) }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the lines of trailers that end a chunked body, without the empty line after them.
///
/// Errors: a field that may not be in trailers ([`super::http1::body`] refuses the same), or too many of them.
pub fn http1_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) -> Result<(), Refusal> {
    let start = out.len();
    for (name, value) in trailers {
        let found = Name::of(name.as_str().as_bytes());
        if is_of_connection(found) || matches!(found, Name::ContentLength | Name::Host | Name::Te) {
            return Err(Refusal::ConnectionField);
        }
        check_value(value.as_bytes())?;
        push_line(out, name.as_str().as_bytes(), value.as_bytes());
        if out.len() - start > HEAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
    }
    Ok(())
}

/// Appends the HTTP/1.1 head of a response that came by HTTP/2. `ends`: no body follows.
///
/// Errors: the response is malformed or too large.
pub fn http1_response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
    ends: bool,
) -> Result<(), Refusal> {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status.as_u16()));
    out.extend_from_slice(b" \r\n");
    let block = out.len();
    let mut length: Option<&[u8]> = None;
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        check_value(value)?;
        match Name::of(name) {
            Name::ContentLength => {
                if length.is_some_and(|before| before != value) {
                    return Err(Refusal::Length);
                }
                length = Some(value);
                continue;
            }
            found if is_of_connection(found) => return Err(Refusal::ConnectionField),
            _ => {}
        }
        push_line(out, name, value);
        if out.len() - block > HEAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
    }
    match length {
        Some(length) => push_line(out, b"Content-Length", length),
        None if !ends && status.as_u16() >= 200 => push_line(out, b"Transfer-Encoding", b"chunked"),
        None => {}
    }
    out.extend_from_slice(b"\r\n");
    if out.len() - block > HEAD_LIMIT { Err(Refusal::TooLarge) } else { Ok(()) }
}

/// The response whose HTTP/1.1 head is at the beginning of `head`, as [`super::http1::rewrite::write_response`] and the
/// answers of our own write it, edits and lines of ours included. Fields of the connection are left out, and names become
/// lower-case.
///
/// Errors: not a head.
pub fn response_of(head: &[u8]) -> Result<Response<()>, Refusal> {
    let head = Bytes::copy_from_slice(head);
    let status = head.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
    let status = status.ok_or(Refusal::StartLine)?;
    let start = memchr::memchr(b'\n', &head).ok_or(Refusal::StartLine)? + 1;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields_of(&head, start)?;
    Ok(response)
}

/// The request for a server that speaks HTTP/2 without TLS, whose HTTP/1.1 head is at the beginning of `head`, as
/// [`super::http1::rewrite::write_request`] writes it. Fields of the connection are left out, Host becomes the authority,
/// and `te: trailers` is added, which gRPC demands.
///
/// Errors: not a head, or a target that HTTP/2 cannot say.
pub fn request_of(head: &[u8]) -> Result<Request<()>, Refusal> {
    let head = Bytes::copy_from_slice(head);
    let end = memchr::memchr(b'\n', &head).ok_or(Refusal::StartLine)?;
    let mut words = head[..end].split(|&byte| byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().ok_or(Refusal::StartLine)?);
    let mut fields = fields_of(&head, end + 1)?;
    let host = fields.remove(http::header::HOST).ok_or(Refusal::Host)?;
    fields.remove(http::header::TE);
    fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
    let mut target = uri::Parts::default();
    target.scheme = Some(uri::Scheme::HTTP);
    target.authority = Some(uri::Authority::try_from(host.as_bytes()).map_err(|_| Refusal::Host)?);
    target.path_and_query =
        Some(PathAndQuery::from_maybe_shared(head.slice_ref(path)).map_err(|_| Refusal::Target)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(|_| Refusal::StartLine)?;
    *request.uri_mut() = Uri::from_parts(target).map_err(|_| Refusal::Target)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// The fields of trailers in HTTP/1.1, up to the empty line or the end.
///
/// Errors: a line is malformed.
pub fn trailers_of(lines: &[u8]) -> Result<HeaderMap, Refusal> {
    fields_of(&Bytes::copy_from_slice(lines), 0)
}

/// The fields from `start` of `text` on, whose values share its storage.
fn fields_of(text: &Bytes, start: usize) -> Result<HeaderMap, Refusal> {
    let mut fields = HeaderMap::with_capacity(FIELDS);
    let mut start = start;
    while start < text.len() {
        let end = start + memchr::memchr(b'\n', &text[start..]).ok_or(Refusal::LineEnd)?;
        let line = start..end.checked_sub(1).filter(|&cr| text[cr] == b'\r').ok_or(Refusal::LineEnd)?;
        start = end + 1;
        if line.is_empty() {
            break;
        }
        let colon = memchr::memchr(b':', &text[line.clone()]).ok_or(Refusal::Name)?;
        let name = &text[line.start..line.start + colon];
        if is_of_connection(Name::of(name)) {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal::Name)?;
        let value = text[line.start + colon + 1..line.end].trim_ascii();
        let value = HeaderValue::from_maybe_shared(text.slice_ref(value)).map_err(|_| Refusal::Value)?;
        fields.try_append(name, value).map_err(|_| Refusal::TooLarge)?;
    }
    Ok(fields)
}

/// Room for so many fields is made at once: more than most responses have.
const FIELDS: usize = 16;

#[cfg(test)]
mod tests;
