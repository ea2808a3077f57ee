//! What becomes of a request: decided from its head and the listener in force, before anything is done.

use super::access_log::ErrorSource;
use super::client::{Client, Origin, Side};
use super::group::Group;
use super::http1::Framing;
use super::http1::Version;
use super::http1::field::{Field, Name, list};
use super::http1::head::{RequestHead, ResponseHead};
use super::target::Target;
use crate::model::FixedResponse;
use std::net::IpAddr;
use std::rc::Rc;

/// Bodies shorter than this are not worth compressing.
const GZIP_BYTES_MIN: u64 = 1024;
/// Types of content that are compressed (LR-14).
const GZIP_TYPES: [&[u8]; 10] = [
    b"text/xml",
    b"text/plain",
    b"text/css",
    b"application/javascript",
    b"application/x-javascript",
    b"application/rss+xml",
    b"application/atom+xml",
    b"application/xml",
    b"application/json",
    b"text/html",
];

/// What becomes of a request, and what is to be done to its head and its response.
pub struct Decision<'a> {
    target: &'a Target,
    request: &'a RequestHead,
    head: &'a [u8],
    pub outcome: Outcome<'a>,
    /// The client's address: the peer's, or by LR-44 what proxies say.
    pub client_address: IpAddr,
    /// Asked of the server in place of the request's path and query.
    pub path: Option<Vec<u8>>,
    /// Asked of the server in place of the request's host.
    pub host: Option<Vec<u8>>,
    /// Header lines that the server does not see.
    pub hidden: Vec<&'a [u8]>,
    /// Header lines that it sees besides.
    pub lines: Vec<u8>,
    /// Header lines of an answer of ours.
    pub answer_lines: Vec<u8>,
}

/// Who answers.
pub enum Outcome<'a> {
    /// A server of this group.
    Forward(&'a Rc<Group>),
    /// We do.
    Answer(Answer<'a>),
}

/// An answer of ours.
pub enum Answer<'a> {
    /// A page that says no more than the status.
    Status(u16),
    /// What a rule says (LR-100).
    Fixed(&'a FixedResponse),
}

/// What is done to a server's response.
#[derive(Default)]
pub struct ResponseChanges<'a> {
    /// What the client gets instead.
    pub answer: Option<&'a FixedResponse>,
    /// Lines that the client does not see.
    pub hidden: Vec<&'a [u8]>,
    /// Lines that it sees besides.
    pub lines: Vec<u8>,
    /// The body is compressed.
    pub gzip: bool,
}

impl Answer<'_> {
    /// Its status.
    pub fn status(&self) -> u16 {
        match self {
            Answer::Status(status) => *status,
            Answer::Fixed(fixed) => fixed.status,
        }
    }

    /// Who is to blame, if it is an error.
    pub fn source(&self) -> ErrorSource {
        ErrorSource::None
    }

    /// What is wrong, if it is an error.
    pub fn cause(&self) -> &'static str {
        ""
    }
}

impl Target {
    /// What becomes of `request`, which was parsed from `head` and came from `origin`.
    pub fn decide<'a>(
        &'a self,
        origin: &'a Origin,
        request: &'a RequestHead,
        head: &'a [u8],
    ) -> Decision<'a> {
        Decision {
            outcome: Outcome::Forward(&self.default),
            client_address: self.client_address(request, head, origin.peer.ip()),
            ..Decision::none(self, origin, request, head)
        }
    }
}

impl<'a> Decision<'a> {
    /// About a request that was refused before anything could be decided.
    pub fn none(
        target: &'a Target,
        origin: &'a Origin,
        request: &'a RequestHead,
        head: &'a [u8],
    ) -> Decision<'a> {
        Decision {
            target,
            request,
            head,
            outcome: Outcome::Answer(Answer::Status(400)),
            client_address: origin.peer.ip(),
            path: None,
            host: None,
            hidden: Vec::new(),
            lines: Vec::new(),
            answer_lines: Vec::new(),
        }
    }

    /// The group that answers, for the log.
    pub fn group_name(&self) -> &'a str {
        match self.outcome {
            Outcome::Forward(group) => &group.name,
            Outcome::Answer(_) => &self.target.default.name,
        }
    }

    /// Whether the client asks to speak another protocol on this connection, and may (RFC 9110 section 7.8, LR-130).
    /// HTTP/2 without TLS is none of them: a server that knows it would take requests that no rule has seen.
    pub fn wants_upgrade(&self, client: &Client) -> bool {
        let Some(protocols) = self.request.value(Name::Upgrade, self.head) else { return false };
        let is_http = |protocol: &[u8]| {
            ["h2", "http", "tls"].iter().any(|name| {
                protocol.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        let mut options =
            fields(self.request.fields(), Name::Connection).flat_map(|field| list(field.value.of(self.head)));
        matches!(client.side, Side::Connection(_))
            && self.request.version == Version::Http11
            && self.request.framing == Framing::None
            && options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
            && !list(protocols).any(is_http)
    }

    /// What is done to the response whose head is `head`, and whose body is framed so.
    pub fn on_response(&self, response: &ResponseHead, head: &[u8], framing: Framing) -> ResponseChanges<'a> {
        let mut changes = ResponseChanges::default();
        if self.target.gzip && self.accepts_gzip() && is_worth_compressing(response, head, framing) {
            changes.gzip = true;
            changes.lines.extend_from_slice(b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
            if let Some(tag) = other_value(response.fields(), head, b"etag") {
                changes.hidden.push(b"ETag");
                // The compressed body is another one, of the same meaning (RFC 9110 section 8.8.1).
                let weak: &[u8] = if tag.starts_with(b"W/") { b"" } else { b"W/" };
                for part in [b"ETag: ", weak, tag, b"\r\n"] {
                    changes.lines.extend_from_slice(part);
                }
            }
        }
        changes
    }

    fn accepts_gzip(&self) -> bool {
        self.request.version == Version::Http11
            && fields(self.request.fields(), Name::AcceptEncoding)
                .flat_map(|field| list(field.value.of(self.head)))
                .any(is_gzip)
    }
}

/// Whether a coding of Accept-Encoding is gzip, and not with a weight of 0 (RFC 9110 section 12.5.3).
fn is_gzip(coding: &[u8]) -> bool {
    let mut parts = coding.split(|&byte| byte == b';').map(|part| part.trim_ascii());
    let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
    let refuses = |part: &[u8]| {
        let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
        weight.is_some_and(|weight| !weight.iter().any(|byte| matches!(byte, b'1'..=b'9')))
    };
    is_named && !parts.any(refuses)
}

fn is_worth_compressing(response: &ResponseHead, head: &[u8], framing: Framing) -> bool {
    let is_long = match framing {
        Framing::None => false,
        Framing::Length(length) => length >= GZIP_BYTES_MIN,
        Framing::Chunked | Framing::UntilClose => true,
    };
    let value = |name: &[u8]| other_value(response.fields(), head, name);
    let is_text = || {
        let kind = value(b"content-type").and_then(|kind| kind.split(|&byte| byte == b';').next());
        kind.is_some_and(|kind| GZIP_TYPES.iter().any(|text| text.eq_ignore_ascii_case(kind.trim_ascii())))
    };
    let may_change = || {
        value(b"cache-control").is_none_or(|control| {
            !list(control).any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
        })
    };
    // 206 is a part of the body as it is.
    is_long && response.status != 206 && value(b"content-encoding").is_none() && is_text() && may_change()
}

/// First value of a header that has no [`Name`]; `name` is in lower case.
fn other_value<'h>(fields: &[Field], head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let mut fields = fields.iter();
    fields.find(|field| field.name_span.of(head).eq_ignore_ascii_case(name)).map(|field| field.value.of(head))
}

fn fields(fields: &[Field], name: Name) -> impl Iterator<Item = &Field> {
    fields.iter().filter(move |field| field.name == name)
}
