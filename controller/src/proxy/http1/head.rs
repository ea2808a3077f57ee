//! Request and response heads: bytes → spans and what they mean for framing and the connection.

use super::field::{
    Field, Name, Span, is_host, is_same_host, is_target, is_token, is_value, list, parse_field,
};
use super::{FIELDS_MAX, Framing, HEAD_BYTES_MAX, HEAD_LIMIT, NOMINATIONS_MAX, Refusal, Version};

/// Where parsing stands between two calls, and the lines so far.
#[derive(Debug, Default)]
struct Lines {
    /// Start of the line being awaited.
    line: usize,
    /// Bytes already searched for its end.
    searched: usize,
    /// Start of the header block, once the start line is complete.
    block: Option<usize>,
    fields: Vec<Field>,
}

enum Line {
    /// The start line, LF included.
    Start(Span),
    /// The head's end: so many bytes in all.
    End(usize),
    /// More bytes are needed.
    Incomplete,
}

impl Lines {
    fn reset(&mut self) {
        self.line = 0;
        self.searched = 0;
        self.block = None;
        self.fields.clear();
    }

    /// Takes complete lines off `head` (every byte since the head's start) until the start line or the end.
    fn advance(&mut self, head: &[u8]) -> Result<Line, Refusal> {
        loop {
            let end = memchr::memchr(b'\n', &head[self.searched..]).map(|at| self.searched + at + 1);
            let limit = end.unwrap_or(head.len());
            if let Some(block) = self.block
                && limit - block > HEAD_LIMIT
            {
                return Err(Refusal::TooLarge);
            }
            let Some(end) = end else {
                self.searched = head.len();
                return Ok(Line::Incomplete);
            };
            let line = Span::new(self.line, end);
            self.line = end;
            self.searched = end;
            if self.block.is_none() {
                self.block = Some(end);
                return Ok(Line::Start(line));
            }
            if line.of(head) == b"\r\n" {
                return Ok(Line::End(end));
            }
            if self.fields.len() == FIELDS_MAX {
                return Err(Refusal::Fields);
            }
            self.fields.push(parse_field(head, line)?);
        }
    }
}

/// What Content-Length and Transfer-Encoding say together.
fn framing_of(fields: &[Field], head: &[u8], version: Version) -> Result<Option<Framing>, Refusal> {
    let mut length: Option<u64> = None;
    let mut chunked = false;
    for field in fields {
        match field.name {
            Name::ContentLength => {
                let found = parse_length(field.value.of(head)).ok_or(Refusal::Length)?;
                if length.is_some_and(|before| before != found) {
                    return Err(Refusal::Length);
                }
                length = Some(found);
            }
            Name::TransferEncoding => {
                if chunked
                    || version == Version::Http10
                    || !field.value.of(head).eq_ignore_ascii_case(b"chunked")
                {
                    return Err(Refusal::Coding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Refusal::Framing),
        (None, true) => Ok(Some(Framing::Chunked)),
        (Some(0), false) => Ok(Some(Framing::None)),
        (Some(length), false) => Ok(Some(Framing::Length(length))),
        (None, false) => Ok(None),
    }
}

/// Digits only, at most 18 of them, so that sums of lengths cannot overflow.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether the sender of these fields keeps the connection open after this message (RFC 9112 section 9.3).
fn keeps_alive(fields: &[Field], head: &[u8], version: Version) -> Result<bool, Refusal> {
    let mut keep = version == Version::Http11;
    let mut close = false;
    let mut options = 0;
    for field in fields.iter().filter(|field| field.name == Name::Connection) {
        for option in list(field.value.of(head)) {
            options += 1;
            close |= option.eq_ignore_ascii_case(b"close");
            keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    if options > NOMINATIONS_MAX { Err(Refusal::Nominations) } else { Ok(keep && !close) }
}

/// A request's head. Spans refer to the bytes it was parsed from.
#[derive(Debug, Default)]
pub struct RequestHead {
    lines: Lines,
    /// Method, as written.
    pub method: Span,
    /// Target, as written.
    pub target: Span,
    /// Host and port of the target's absolute form. Host names the same, so that whoever goes by the one agrees with
    /// whoever goes by the other (RFC 9112 section 3.2.2 lets the target win; then a server's log and ours could differ).
    pub authority: Option<Span>,
    /// The target's path and query: what a server is asked for. Empty for an absolute form without a path.
    pub path: Span,
    /// Value of Host; empty when an HTTP/1.0 request has none.
    pub host: Span,
    /// Version the client speaks.
    pub version: Version,
    /// Where the body ends. Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub expects_continue: bool,
}

impl RequestHead {
    /// Forgets the request and keeps the storage.
    pub fn reset(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.reset();
        *self = RequestHead { lines, ..RequestHead::default() };
    }

    /// The header lines in order.
    pub fn fields(&self) -> &[Field] {
        &self.lines.fields
    }

    /// First value of a header a proxy acts on.
    pub fn value<'h>(&self, name: Name, head: &'h [u8]) -> Option<&'h [u8]> {
        self.fields().iter().find(|field| field.name == name).map(|field| field.value.of(head))
    }

    /// Goes on parsing `head`, which holds every byte received since the head's start: the length of the whole head
    /// once it is complete, `None` while bytes are missing. After an error the connection is of no further use.
    pub fn parse(&mut self, head: &[u8]) -> Result<Option<usize>, Refusal> {
        // An empty line before a request is ignored, once (RFC 9112 section 2.2).
        if self.lines.line == 0 && head.starts_with(b"\r\n") {
            self.lines.line = 2;
            self.lines.searched = self.lines.searched.max(2);
        }
        loop {
            match self.lines.advance(head)? {
                Line::Start(line) => self.parse_request_line(head, line)?,
                Line::End(length) => {
                    self.digest(head)?;
                    return Ok(Some(length));
                }
                Line::Incomplete => {
                    if self.lines.block.is_none() {
                        self.refuse_long_target(&head[self.lines.line..])?;
                    }
                    debug_assert!(head.len() <= HEAD_BYTES_MAX);
                    return Ok(None);
                }
            }
        }
    }

    /// An unfinished request line is refused as soon as its target is too long, so that nobody has to buffer it.
    fn refuse_long_target(&self, line: &[u8]) -> Result<(), Refusal> {
        if line.len() <= HEAD_LIMIT {
            return Ok(());
        }
        match line.iter().position(|&byte| byte == b' ') {
            None | Some(64..) => Err(Refusal::StartLine),
            Some(method) => {
                let target = &line[method + 1..];
                let length = target.iter().position(|&byte| byte == b' ').unwrap_or(target.len());
                if length > HEAD_LIMIT {
                    Err(Refusal::TargetTooLong)
                } else if target.len() - length > 64 {
                    Err(Refusal::StartLine)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn parse_request_line(&mut self, head: &[u8], line: Span) -> Result<(), Refusal> {
        self.refuse_long_target(line.of(head))?;
        let Some(text) = line.of(head).strip_suffix(b"\r\n") else { return Err(Refusal::LineEnd) };
        if text.contains(&b'\r') {
            return Err(Refusal::LineEnd);
        }
        let start = line.start as usize;
        let method = text.iter().position(|&byte| byte == b' ').ok_or(Refusal::StartLine)?;
        if !is_token(&text[..method]) {
            return Err(Refusal::StartLine);
        }
        self.method = Span::new(start, start + method);
        let rest = &text[method + 1..];
        let target = rest.iter().position(|&byte| byte == b' ').ok_or(Refusal::StartLine)?;
        if !is_target(&rest[..target]) {
            return Err(Refusal::Target);
        }
        self.target = Span::new(start + method + 1, start + method + 1 + target);
        self.version = match &rest[target + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::StartLine),
        };
        if matches!(&text[..method], b"TRACE" | b"CONNECT") {
            return Err(Refusal::Method);
        }
        self.parse_target(head)
    }

    fn parse_target(&mut self, head: &[u8]) -> Result<(), Refusal> {
        let target = self.target.of(head);
        self.path = self.target;
        if target[0] == b'/' {
            return Ok(());
        }
        if target == b"*" {
            let allowed = self.method.of(head) == b"OPTIONS";
            return if allowed { Ok(()) } else { Err(Refusal::Target) };
        }
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| target.get(..scheme.len()).is_some_and(|found| found.eq_ignore_ascii_case(scheme)))
            .ok_or(Refusal::Target)?
            .len();
        let authority = &target[scheme..];
        let length =
            authority.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
        if !is_host(&authority[..length]) {
            return Err(Refusal::Target);
        }
        let from = self.target.start as usize + scheme;
        self.authority = Some(Span::new(from, from + length));
        self.path = Span::new(from + length, self.target.end as usize);
        Ok(())
    }

    fn digest(&mut self, head: &[u8]) -> Result<(), Refusal> {
        let fields = &self.lines.fields;
        self.framing = framing_of(fields, head, self.version)?.unwrap_or(Framing::None);
        self.keep_alive = keeps_alive(fields, head, self.version)?;
        let mut hosts = fields.iter().filter(|field| field.name == Name::Host);
        match (hosts.next(), hosts.next()) {
            (Some(field), None) if is_host(field.value.of(head)) => self.host = field.value,
            (None, None) if self.version == Version::Http10 => {}
            _ => return Err(Refusal::Host),
        }
        if let Some(authority) = self.authority
            && !self.host.is_empty()
        {
            // The fifth byte is the `s` of https.
            let is_https = self.target.of(head)[4] | 0x20 == b's';
            if !is_same_host(authority.of(head), self.host.of(head), if is_https { 443 } else { 80 }) {
                return Err(Refusal::Authority);
            }
        }
        self.expects_continue = self.version == Version::Http11
            && self.framing != Framing::None
            && self
                .value(Name::Expect, head)
                .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        Ok(())
    }
}

/// A response's head. Spans refer to the bytes it was parsed from.
#[derive(Debug, Default)]
pub struct ResponseHead {
    lines: Lines,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase, may be empty.
    pub reason: Span,
    /// Version the server speaks.
    pub version: Version,
    /// Where the body ends, as the fields say; [`ResponseHead::body_framing`] knows the request too.
    framing: Option<Framing>,
    /// Whether the server keeps the connection.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// Forgets the response and keeps the storage.
    pub fn reset(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.reset();
        *self = ResponseHead { lines, ..ResponseHead::default() };
    }

    /// The header lines in order.
    pub fn fields(&self) -> &[Field] {
        &self.lines.fields
    }

    /// True for 1xx: the response proper is still to come.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Where this response's body ends, given the request's method (RFC 9112 section 6.3).
    pub fn body_framing(&self, to_head_request: bool) -> Framing {
        if to_head_request || self.is_interim() || matches!(self.status, 204 | 304) {
            return Framing::None;
        }
        self.framing.unwrap_or(Framing::UntilClose)
    }

    /// As [`RequestHead::parse`].
    pub fn parse(&mut self, head: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            match self.lines.advance(head)? {
                Line::Start(line) => self.parse_status_line(head, line)?,
                Line::End(length) => {
                    self.framing = framing_of(&self.lines.fields, head, self.version)?;
                    self.keep_alive = keeps_alive(&self.lines.fields, head, self.version)?;
                    return Ok(Some(length));
                }
                Line::Incomplete => {
                    if self.lines.block.is_none() && head.len() > HEAD_LIMIT {
                        return Err(Refusal::TooLarge);
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn parse_status_line(&mut self, head: &[u8], line: Span) -> Result<(), Refusal> {
        if line.end as usize > HEAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
        let Some(text) = line.of(head).strip_suffix(b"\r\n") else { return Err(Refusal::LineEnd) };
        let (version, rest) = match text {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', rest @ ..] => (Version::Http11, rest),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', rest @ ..] => (Version::Http10, rest),
            _ => return Err(Refusal::StartLine),
        };
        self.version = version;
        // Servers that leave the space before an empty reason out are common and unambiguous.
        let (code, reason) = match rest {
            [a, b, c] => ([*a, *b, *c], 0),
            [a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason.len()),
            _ => return Err(Refusal::StartLine),
        };
        if code[0] == b'0' || !code.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::StartLine);
        }
        self.status = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let end = line.end as usize - 2;
        self.reason = Span::new(end - reason, end);
        if is_value(self.reason.of(head)) { Ok(()) } else { Err(Refusal::StartLine) }
    }
}
