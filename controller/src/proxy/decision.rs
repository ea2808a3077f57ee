//! What becomes of a request: decided from its head and the listener in force, before anything is done.

use super::access_log::ErrorSource;
use super::actions::{End, Groups, ResponseActions, RuleActions, Step, identity_of};
use super::client::{Client, Origin, Side};
use super::forwarded::{self, push_line};
use super::group::Group;
use super::http1::field::{Field, Name, list};
use super::http1::head::{RequestHead, ResponseHead};
use super::http1::{Framing, Version};
use super::persistence::unix_secs;
use super::target::Target;
use crate::model::{Cors, FixedResponse, HeaderValue, SystemValue};
use crate::rules::location::{Asked, redirect_location, rewrite_target};
use crate::rules::{Captures, Fields, RequestView, cors, trace};
use crate::sticky::Sticky;
use crate::sticky::seal::{NONCE_BYTES, Session};
use std::net::IpAddr;
use std::rc::Rc;

/// Bodies shorter than this are not worth compressing.
const GZIP_BYTES_MIN: u64 = 1024;
/// Why a request is refused when memory is scarce.
pub const NO_MEMORY: &str = "memory of the balancer is scarce";
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
    origin: &'a Origin,
    request: &'a RequestHead,
    head: &'a [u8],
    pub outcome: Outcome<'a>,
    /// The rule that decided, or the default one (LR-65).
    pub actions: &'a RuleActions,
    /// Of several groups, the one that the client is to keep to.
    keeps_to: Option<(&'a Sticky, u64)>,
    cors: Option<&'a Cors>,
    /// Asked of the server in place of the request's path and query.
    pub path: Option<Vec<u8>>,
    /// Header lines that the server sees besides the client's.
    pub lines: Vec<u8>,
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
    /// Another place, with the value of Location (LR-97).
    Redirect(u16, Vec<u8>),
    /// A preflight's, with its lines (LR-107).
    Preflight(Vec<u8>),
    /// A rule's limit is reached (LR-104).
    Limited,
    /// The request has been here before (LR-110).
    Loop,
    /// The rule's groups have no weight (LR-94).
    NoGroup,
    /// The rule makes a URL that cannot be.
    NoTarget,
    /// Memory is too scarce for a request more.
    NoMemory,
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
            Answer::Status(status) | Answer::Redirect(status, _) => *status,
            Answer::Fixed(fixed) => fixed.status,
            Answer::Preflight(_) => 200,
            Answer::Limited | Answer::NoGroup | Answer::NoMemory => 503,
            Answer::Loop => 463,
            Answer::NoTarget => 400,
        }
    }

    /// Who is to blame and for what, if it is an error.
    pub fn blame(&self) -> (ErrorSource, &'static str) {
        match self {
            Answer::Status(_) | Answer::Fixed(_) | Answer::Redirect(..) | Answer::Preflight(_) => {
                (ErrorSource::None, "")
            }
            Answer::Limited => (ErrorSource::Us, "traffic limit of the rule reached"),
            Answer::NoGroup => (ErrorSource::Us, "every server group of the rule has weight 0"),
            Answer::Loop => (ErrorSource::Client, "the request has passed here before"),
            Answer::NoTarget => (ErrorSource::Client, "the rule makes no URL of this request"),
            Answer::NoMemory => (ErrorSource::Us, NO_MEMORY),
        }
    }

    /// What was done, for the log.
    pub fn action(&self) -> &'static str {
        match self {
            Answer::Status(_) | Answer::Loop | Answer::NoGroup | Answer::NoTarget | Answer::NoMemory => {
                "refuse"
            }
            Answer::Fixed(_) => "fixed_response",
            Answer::Redirect(..) => "redirect",
            Answer::Preflight(_) => "cors",
            Answer::Limited => "traffic_limit",
        }
    }
}

/// Whether deciding is for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It counts in limits and shares.
    Act,
    /// It changes nothing: limits let everything through.
    Explain,
}

impl Target {
    /// Appends the line that a rule inserts; nothing where its value refers to a header that is not there.
    fn push_insert(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        value: &HeaderValue,
        origin: &Origin,
        fields: &[Field],
        head: &[u8],
    ) {
        let number;
        let value: &[u8] = match value {
            HeaderValue::Text(text) => text.as_bytes(),
            HeaderValue::Reference(other) => match other_values(fields, head, other.as_bytes()).next() {
                Some(value) => value,
                None => return,
            },
            HeaderValue::System(SystemValue::ClientSrcIp) => &origin.peer_text,
            HeaderValue::System(SystemValue::Protocol) => origin.scheme().as_bytes(),
            HeaderValue::System(SystemValue::SlbId) => self.load_balancer.as_bytes(),
            HeaderValue::System(SystemValue::ClientSrcPort) => {
                number = origin.peer.port().to_string();
                number.as_bytes()
            }
            HeaderValue::System(SystemValue::SlbPort) => {
                number = origin.vip.port().to_string();
                number.as_bytes()
            }
        };
        push_line(out, name.as_bytes(), value);
    }

    /// What becomes of `request`, which was parsed from `head` and came from `origin`, at `now`, CLOCK_MONOTONIC
    /// nanoseconds: rule, loop check, extensions in order, final action (LR-109).
    pub fn decide<'a>(
        &'a self,
        origin: &'a Origin,
        request: &'a RequestHead,
        head: &'a [u8],
        now: u64,
        mode: Mode,
    ) -> Decision<'a> {
        let mut decision = Decision::none(self, origin, request, head);
        let asked = asked(origin, request, head);
        let fields = HeadFields { fields: request.fields(), head };
        let found = if self.rules.set.is_empty() {
            None
        } else {
            self.rules.set.find(&decision.view(&asked, &fields))
        };
        let (actions, captures) = match found {
            None => (&self.default_actions, Captures::default()),
            Some(found) => (&self.actions[found.index], found.captures),
        };
        decision.actions = actions;
        let is_loop = |name: &String| {
            let entries = other_values(request.fields(), head, name.as_bytes()).flat_map(list);
            trace::is_loop(entries, &actions.trace)
        };
        if self.trace_headers.iter().any(is_loop) {
            decision.outcome = Outcome::Answer(Answer::Loop);
            return decision;
        }
        for step in &actions.steps {
            match step {
                Step::Limit(limits) => {
                    if mode == Mode::Act && !limits.take(decision.client_address(), now) {
                        decision.outcome = Outcome::Answer(Answer::Limited);
                        return decision;
                    }
                }
                Step::Cors(cors) => {
                    if let Some(lines) = decision.preflight(cors) {
                        decision.outcome = Outcome::Answer(Answer::Preflight(lines));
                        return decision;
                    }
                    // What any other response gets: a preflight's has its own, and browsers refuse an origin said twice.
                    decision.cors = Some(cors);
                }
            }
        }
        decision.outcome = match &actions.end {
            End::Fixed(fixed) => Outcome::Answer(Answer::Fixed(fixed)),
            End::Redirect(redirect) => {
                let mut location = Vec::new();
                let is_url = redirect_location(&mut location, redirect, &asked, &captures);
                Outcome::Answer(if is_url {
                    Answer::Redirect(redirect.status, location)
                } else {
                    Answer::NoTarget
                })
            }
            End::Forward(groups) => match decision.group_of(groups, mode) {
                None => Outcome::Answer(Answer::NoGroup),
                Some(group) => Outcome::Forward(group),
            },
        };
        if let (Outcome::Forward(_), Some(rewrite)) = (&decision.outcome, &actions.rewrite) {
            let mut path = Vec::new();
            if rewrite_target(&mut path, rewrite, &asked, &captures) {
                decision.path = Some(path);
            } else {
                decision.outcome = Outcome::Answer(Answer::NoTarget);
            }
        }
        if let Outcome::Forward(_) = decision.outcome {
            decision.write_lines();
        }
        decision
    }
}

/// What the client asked for. `head` is what `request` was parsed from.
fn asked<'a>(origin: &Origin, request: &RequestHead, head: &'a [u8]) -> Asked<'a> {
    let target = request.path.of(head);
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &target[target.len()..]),
    };
    Asked {
        https: origin.is_secure(),
        host: request.authority.unwrap_or(request.host).of(head),
        port: origin.vip.port(),
        path: if path.is_empty() { b"/" } else { path },
        query,
    }
}

/// Header lines as rules see them.
struct HeadFields<'a> {
    fields: &'a [Field],
    head: &'a [u8],
}

impl Fields for HeadFields<'_> {
    fn any(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        other_values(self.fields, self.head, name.as_bytes()).any(visit)
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
            origin,
            request,
            head,
            outcome: Outcome::Answer(Answer::Status(400)),
            actions: &target.default_actions,
            keeps_to: None,
            cors: None,
            path: None,
            lines: Vec::new(),
        }
    }

    /// Whether the request is one of gRPC, whose errors are told in its own way (LR-123).
    pub fn is_grpc(&self) -> bool {
        let kind = other_values(self.request.fields(), self.head, b"content-type").next();
        kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
    }

    /// The client's address: the peer's, or by LR-44 what proxies say.
    pub fn client_address(&self) -> IpAddr {
        self.target.client_address(self.request, self.head, self.origin.peer.ip())
    }

    /// Asked of the server in place of the request's host.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.actions.rewrite.as_ref()?.host.as_ref().map(|host| host.as_bytes())
    }

    /// The group that answers, for the log; empty if none does.
    pub fn group_name(&self) -> &'a str {
        match self.outcome {
            Outcome::Forward(group) => &group.name,
            Outcome::Answer(_) => "",
        }
    }

    /// What is done, for the log.
    pub fn action(&self) -> &'static str {
        match &self.outcome {
            Outcome::Forward(_) => "forward",
            Outcome::Answer(answer) => answer.action(),
        }
    }

    fn view<'v>(&'v self, asked: &Asked<'v>, fields: &'v HeadFields<'v>) -> RequestView<'v> {
        let has_query = memchr::memchr(b'?', self.request.path.of(self.head)).is_some();
        RequestView {
            host: asked.host,
            path: asked.path,
            query: has_query.then_some(asked.query),
            method: self.request.method.of(self.head),
            client: self.client_address(),
            fields,
        }
    }

    fn preflight(&self, cors: &Cors) -> Option<Vec<u8>> {
        if self.request.method.of(self.head) != b"OPTIONS" {
            return None;
        }
        let value = |name: &'static [u8]| other_values(self.request.fields(), self.head, name).next();
        let asking = cors::Asking {
            origin: value(b"origin")?,
            method: value(b"access-control-request-method"),
            headers: value(b"access-control-request-headers"),
        };
        let mut lines = Vec::new();
        cors::preflight(&mut lines, cors, &asking).then_some(lines)
    }

    /// The group that the client keeps to, else the next by weight.
    fn group_of(&mut self, groups: &'a Groups, mode: Mode) -> Option<&'a Rc<Group>> {
        let Some(sticky) = &groups.sticky else { return groups.choose(mode == Mode::Explain) };
        let cookies = fields(self.request.fields(), Name::Cookie).map(|field| field.value.of(self.head));
        let known = sticky
            .sessions(cookies, unix_secs())
            .find_map(|session| Some((groups.of_identity(session.server)?, session.first_secs)));
        let (group, first_secs) = match known {
            Some((group, first_secs)) => (group, first_secs),
            None => (groups.choose(mode == Mode::Explain)?, unix_secs()),
        };
        self.keeps_to = Some((sticky, first_secs));
        Some(group)
    }

    /// The lines that a server gets from us.
    fn write_lines(&mut self) {
        let (request, head, origin) = (self.request, self.head, self.origin);
        let lines = &mut self.lines;
        forwarded::push_lines(
            lines,
            &self.target.forwarded,
            &self.target.load_balancer,
            origin,
            request,
            head,
        );
        for (name, value) in &self.actions.inserts {
            self.target.push_insert(&mut self.lines, name, value, origin, request.fields(), head);
        }
    }

    /// Whether the client asks to speak another protocol on this connection, and may (RFC 9110 section 7.8, LR-130).
    /// HTTP/2 without TLS is none of them: a server that knows it would take requests that no rule has seen.
    pub fn wants_upgrade(&self, client: &Client) -> bool {
        let is_http = |protocol: &[u8]| {
            ["h2", "http", "tls"].iter().any(|name| {
                protocol.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        let mut options =
            fields(self.request.fields(), Name::Connection).flat_map(|field| list(field.value.of(self.head)));
        // Of all lines, since all pass.
        let protocols =
            || fields(self.request.fields(), Name::Upgrade).flat_map(|field| list(field.value.of(self.head)));
        matches!(client.side, Side::Connection(_))
            && self.request.version == Version::Http11
            && self.request.framing == Framing::None
            && options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
            && protocols().next().is_some()
            && !protocols().any(is_http)
    }

    /// What is done to the response whose head is `head`, and whose body is framed so. `may_compress`: there is memory for it.
    pub fn on_response(
        &self,
        response: &ResponseHead,
        head: &[u8],
        framing: Framing,
        may_compress: bool,
    ) -> ResponseChanges<'a> {
        let mut changes = ResponseChanges::default();
        let found = self.response_rule(response, head);
        if let Some(actions) = found {
            changes.answer = actions.answer.as_ref();
            changes.hidden.extend(actions.hidden.iter().map(|name| &**name));
            for (name, value) in &actions.inserts {
                let fields = response.fields();
                self.target.push_insert(&mut changes.lines, name, value, self.origin, fields, head);
            }
        }
        self.push_own_lines(&mut changes.lines);
        if self.cors.is_some() {
            changes.hidden.extend(cors::RESPONSE_NAMES.map(str::as_bytes));
        }
        if self.target.gzip
            && may_compress
            && changes.answer.is_none()
            && self.accepts_gzip()
            && is_worth_compressing(response, head, framing)
        {
            changes.gzip = true;
            changes.lines.extend_from_slice(b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
            if let Some(tag) = other_values(response.fields(), head, b"etag").next() {
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

    fn response_rule(&self, response: &ResponseHead, head: &[u8]) -> Option<&'a ResponseActions> {
        if self.target.response_rules.set.is_empty() {
            return None;
        }
        let asked = asked(self.origin, self.request, self.head);
        let request = HeadFields { fields: self.request.fields(), head: self.head };
        let view = self.view(&asked, &request);
        let fields = HeadFields { fields: response.fields(), head };
        let found = self.target.response_rules.set.find_response(&view, response.status, &fields)?;
        self.target.response_actions.get(found.index)
    }

    /// The lines that any response gets from us: who may read it, where HTTP/3 is, which group comes next.
    pub fn push_own_lines(&self, lines: &mut Vec<u8>) {
        if let Some(cors) = self.cors {
            let origin = other_values(self.request.fields(), self.head, b"origin").next().unwrap_or_default();
            cors::response_lines(lines, cors, origin);
        }
        lines.extend_from_slice(&self.target.alt_svc);
        let (Some((sticky, first_secs)), Outcome::Forward(group)) = (self.keeps_to, &self.outcome) else {
            return;
        };
        let mut nonce = [0; NONCE_BYTES];
        if aws_lc_rs::rand::fill(&mut nonce).is_ok() {
            let session = Session { server: identity_of(group), first_secs, last_secs: unix_secs() };
            sticky.push_lines(lines, &session, nonce, self.origin.is_secure());
        }
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
    let value = |name: &'static [u8]| other_values(response.fields(), head, name).next();
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

/// Values of the lines of a name, in any case.
fn other_values<'h>(
    fields: &'h [Field],
    head: &'h [u8],
    name: &'h [u8],
) -> impl Iterator<Item = &'h [u8]> + Clone {
    let of_name = move |field: &&Field| {
        let span = field.name_span;
        (span.end - span.start) as usize == name.len() && span.of(head).eq_ignore_ascii_case(name)
    };
    fields.iter().filter(of_name).map(|field| field.value.of(head))
}

fn fields(fields: &[Field], name: Name) -> impl Iterator<Item = &Field> + Clone {
    fields.iter().filter(move |field| field.name == name)
}
