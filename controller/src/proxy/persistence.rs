//! Sticky sessions at the engine: what [`crate::sticky`] decides, with heads, the clock and randomness.

use super::group::Server;
use super::http1::field::{Field, Name, Span};
use super::http1::head::{RequestHead, ResponseHead};
use crate::snapshot::{GroupSnapshot, Snapshot};
use crate::sticky::Sticky;
use crate::sticky::seal::{NONCE_BYTES, Session};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a group's clients stay with their servers.
pub struct Persistence {
    sticky: Sticky,
    /// Whether there is a key, so that clients do stay.
    pub has_key: bool,
}

/// A session that a request's cookie names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Position of its server in the target's.
    pub index: usize,
    /// First access, Unix time.
    pub first_secs: u64,
}

/// What a response's head gets for its session: see [`super::http1::rewrite::ToClient`].
#[derive(Default)]
pub struct Marks {
    /// Lines of ours.
    pub lines: Vec<u8>,
    /// Where `text` goes into the application's lines.
    pub parts: Vec<Span>,
    pub text: Vec<u8>,
}

impl Persistence {
    /// `None` for a group whose requests are free to go anywhere.
    pub fn new(snapshot: &Snapshot, group: &GroupSnapshot) -> Option<Persistence> {
        let sticky = Sticky::new(group.sticky.as_ref()?, &group.name, &snapshot.cookie_keys);
        Some(Persistence { sticky, has_key: !snapshot.cookie_keys.is_empty() })
    }

    /// The session of a request, if one of `servers` has it.
    pub fn session(&self, request: &RequestHead, head: &[u8], servers: &[Server]) -> Option<Known> {
        let cookies = fields(request.fields(), Name::Cookie).map(|field| field.value.of(head));
        // Most requests of new clients have no cookies at all, and the clock is not asked for nothing.
        cookies.clone().next()?;
        self.sticky.sessions(cookies, unix_secs()).find_map(|session| {
            let index = servers.iter().position(|server| server.identity == session.server)?;
            Some(Known { index, first_secs: session.first_secs })
        })
    }

    /// Parts of a request's head that its server must not see.
    pub fn hidden(&self, request: &RequestHead, head: &[u8]) -> Vec<Span> {
        let mut parts = Vec::new();
        for field in fields(request.fields(), Name::Cookie) {
            let at = field.value.start;
            let hidden = self.sticky.hidden(field.value.of(head));
            parts.extend(
                hidden.map(|range| Span { start: at + range.start as u32, end: at + range.end as u32 }),
            );
        }
        parts
    }

    /// What goes into the head of a response of `server`. `first_secs` is the first access of a session that goes on.
    pub fn marks(
        &self,
        response: &ResponseHead,
        head: &[u8],
        server: &Server,
        first_secs: Option<u64>,
        is_secure: bool,
    ) -> Marks {
        let mut marks = Marks::default();
        let carried = self.sticky.is_carried();
        if carried {
            for field in fields(response.fields(), Name::SetCookie) {
                let place = self.sticky.place(field.value.of(head));
                marks.parts.extend(place.map(|at| {
                    let at = field.value.start + at as u32;
                    Span { start: at, end: at }
                }));
            }
        }
        if carried && marks.parts.is_empty() {
            return marks;
        }
        let mut nonce = [0; NONCE_BYTES];
        if aws_lc_rs::rand::fill(&mut nonce).is_err() {
            // Without randomness there is no cookie, and the client is free to go anywhere.
            marks.parts.clear();
            return marks;
        }
        let now = unix_secs();
        let session =
            Session { server: server.identity, first_secs: first_secs.unwrap_or(now), last_secs: now };
        if carried {
            self.sticky.push_mark(&mut marks.text, &session, nonce);
        } else {
            self.sticky.push_lines(&mut marks.lines, &session, nonce, is_secure);
        }
        marks
    }
}

fn fields(fields: &[Field], name: Name) -> impl Iterator<Item = &Field> + Clone {
    fields.iter().filter(move |field| field.name == name)
}

pub fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
