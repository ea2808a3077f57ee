//! Field sections to heads and trailers.

use super::Code;
use super::qpack::{SectionError, decode};
use crate::proxy::http1::{HEAD_LIMIT, Refusal};
use crate::proxy::stream::http1_head;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

/// Longest field section, encoded and decoded: a target and a header block of the longest (LR-50), so that what is too
/// long in either is told apart.
pub const SECTION_MAX: usize = 2 * HEAD_LIMIT;
/// Most fields of a section; the head's parser takes fewer.
const FIELDS_MAX: usize = 512;

/// A request's fields.
#[derive(Default)]
pub struct Fields {
    method: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    fields: HeaderMap,
    /// Why the request is not accepted; the first reason counts.
    refusal: Option<Refusal>,
}

impl Fields {
    /// Of a request whose section is longer than [`SECTION_MAX`].
    pub fn too_long() -> Fields {
        Fields { refusal: Some(Refusal::TooLarge), ..Fields::default() }
    }

    /// What `section` says. What is malformed (RFC 9114 sections 4.2 and 4.3) is noted, since it is still to be answered.
    ///
    /// Errors: the section cannot be read, which ends the connection.
    pub fn decode(section: &[u8]) -> Result<Fields, Code> {
        let mut fields = Fields::default();
        match decode(section, SECTION_MAX, |name, value| fields.take(name, value)) {
            Ok(()) => {}
            Err(SectionError::TooLong) => fields.refuse(Refusal::TooLarge),
            Err(SectionError::Malformed) => return Err(Code::DECOMPRESSION),
        }
        if fields.method.is_none() || fields.scheme.is_none() && !fields.is_connect() {
            fields.refuse(Refusal::StartLine);
        }
        Ok(fields)
    }

    fn is_connect(&self) -> bool {
        self.method.as_deref() == Some(b"CONNECT")
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        if self.refusal.is_some() {
            return;
        }
        let (place, repeated) = match name {
            b":method" => (&mut self.method, Refusal::StartLine),
            b":scheme" => (&mut self.scheme, Refusal::StartLine),
            b":authority" => (&mut self.authority, Refusal::Host),
            b":path" => (&mut self.path, Refusal::Target),
            _ => return self.take_field(name, value),
        };
        // Section 4.3: each once, and before all other fields.
        if place.is_some() || !self.fields.is_empty() {
            return self.refuse(repeated);
        }
        *place = Some(value.to_vec());
    }

    fn take_field(&mut self, name: &[u8], value: &[u8]) {
        match field_of(name, value) {
            Ok(_) if self.fields.len() >= FIELDS_MAX => self.refuse(Refusal::TooLarge),
            Ok((name, value)) => {
                if self.fields.try_append(name, value).is_err() {
                    self.refuse(Refusal::TooLarge);
                }
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Whether the request is of a kind that has no body, so that its end can be waited for: it may come in a datagram of
    /// its own, and without it the server would be told of a body of unknown length.
    pub fn is_bodiless(&self) -> bool {
        let bodiless = [Method::GET, Method::HEAD]
            .iter()
            .any(|method| self.method.as_deref().is_some_and(|ours| ours == method.as_str().as_bytes()));
        bodiless && self.refusal.is_none() && !self.fields.contains_key(CONTENT_LENGTH)
    }

    /// The length of the body, if it is told.
    pub fn length(&self) -> Option<u64> {
        self.fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The HTTP/1.1 head that says the same, or as much of it as there is if it is refused. `ends`: no body follows.
    pub fn head(&self, ends: bool) -> (Vec<u8>, Option<Refusal>) {
        let mut head = Vec::with_capacity(512);
        let written = http1_head(
            &mut head,
            self.method.as_deref().unwrap_or_default(),
            self.scheme.as_deref(),
            self.authority.as_deref(),
            self.path.as_deref(),
            &self.fields,
            ends,
        );
        (head, self.refusal.or(written.err()))
    }
}

/// The fields of trailers.
///
/// Errors: they are malformed.
pub fn trailers_of(section: &[u8]) -> Result<HeaderMap, Code> {
    let mut trailers = HeaderMap::new();
    let mut error = None;
    let decoded = decode(section, HEAD_LIMIT, |name, value| {
        let appended = field_of(name, value)
            .ok()
            .filter(|_| trailers.len() < FIELDS_MAX)
            .and_then(|(name, value)| trailers.try_append(name, value).ok());
        if appended.is_none() {
            error = Some(Code::MESSAGE);
        }
    });
    match (decoded, error) {
        (Err(SectionError::Malformed), _) => Err(Code::DECOMPRESSION),
        (Err(SectionError::TooLong), _) => Err(Code::MESSAGE),
        (Ok(()), Some(error)) => Err(error),
        (Ok(()), None) => Ok(trailers),
    }
}

/// A field that is no pseudo-header.
fn field_of(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), Refusal> {
    // Section 4.2: a name with a capital letter is malformed, where HTTP's own parser would make it small.
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err(Refusal::Name);
    }
    let name = HeaderName::from_bytes(name).map_err(|_| Refusal::Name)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Refusal::Value)?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut section = vec![0, 0];
        for (name, value) in fields {
            // Literal names, so that any may be said; all are short.
            assert!(name.len() < 128 + 7 && value.len() < 127);
            if name.len() < 7 {
                section.push(0x20 | name.len() as u8);
            } else {
                section.extend_from_slice(&[0x27, name.len() as u8 - 7]);
            }
            section.extend_from_slice(name.as_bytes());
            section.push(value.len() as u8);
            section.extend_from_slice(value.as_bytes());
        }
        section
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x")];

    fn head(more: &[(&str, &str)], ends: bool) -> (String, Option<Refusal>) {
        let fields = Fields::decode(&section(&[&GET, more].concat())).unwrap();
        let (head, refusal) = fields.head(ends);
        (String::from_utf8(head).unwrap(), refusal)
    }

    #[test]
    fn says_the_same_in_http_1() {
        assert_eq!(
            head(&[("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2")], true),
            ("GET /x HTTP/1.1\r\nHost: a.example\r\naccept: */*\r\ncookie: a=1; b=2\r\n\r\n".into(), None)
        );
        assert_eq!(
            head(&[], false),
            ("GET /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n".into(), None)
        );
    }

    #[test]
    fn refuses_what_is_malformed() {
        let refused = [
            (vec![("Accept", "*/*")], Refusal::Name),
            (vec![("a b", "1")], Refusal::Name),
            (vec![("", "1")], Refusal::Name),
            (vec![("a", "1\r\nb: 2")], Refusal::Value),
            (vec![("a", " 1")], Refusal::Value),
            (vec![(":path", "/y")], Refusal::Target),
            (vec![(":authority", "b.example")], Refusal::Host),
            (vec![(":status", "200")], Refusal::Name),
            (vec![(":protocol", "websocket")], Refusal::Name),
            (vec![("a", "1"), (":path", "/y")], Refusal::Target),
            (vec![("connection", "close")], Refusal::ConnectionField),
            (vec![("transfer-encoding", "chunked")], Refusal::ConnectionField),
            (vec![("host", "other.example")], Refusal::Host),
        ];
        for (more, refusal) in refused {
            assert_eq!(head(&more, true).1, Some(refusal), "{more:?}");
        }
        for missing in 0..GET.len() {
            let mut fields = GET.to_vec();
            fields.remove(missing);
            assert!(Fields::decode(&section(&fields)).unwrap().head(true).1.is_some(), "{fields:?}");
        }
        let after = [("a", "1"), GET[0], GET[1], GET[2], GET[3]];
        assert!(Fields::decode(&section(&after)).unwrap().head(true).1.is_some());
        let many: Vec<_> = (0..=FIELDS_MAX).map(|_| ("a", "1")).collect();
        assert_eq!(head(&many, true).1, Some(Refusal::TooLarge));
    }

    #[test]
    fn trailers_have_no_pseudo_header() {
        assert_eq!(trailers_of(&section(&[("a", "1"), ("a", "2")])).unwrap().get_all("a").iter().count(), 2);
        assert_eq!(trailers_of(&section(&[(":path", "/")])), Err(Code::MESSAGE));
        assert_eq!(trailers_of(&section(&[("A", "1")])), Err(Code::MESSAGE));
        assert_eq!(trailers_of(&[7]), Err(Code::DECOMPRESSION));
    }
}
