//! Field sections (RFC 9204), with the static table alone.
//!
//! We allow the client no dynamic table (its capacity is 0), so a section never waits for another stream, and holds no
//! more memory than itself. Ours are sent without one too, and without Huffman coding.

use super::huffman;
use http::{HeaderMap, StatusCode};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Appendix A of RFC 9204.
#[rustfmt::skip]
const STATIC: [(&str, &str); 99] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// Place of `:status` in the table.
const STATUS: u8 = 24;

/// A field section that cannot be read (QPACK_DECOMPRESSION_FAILED), or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionError {
    /// Not a section, or one that needs a dynamic table.
    Malformed,
    /// Names and values together are longer than was allowed.
    TooLong,
}

/// Calls `take` with name and value of each field of `section`, which together have at most `limit` bytes.
pub fn decode(section: &[u8], limit: usize, mut take: impl FnMut(&[u8], &[u8])) -> Result<(), SectionError> {
    let mut section = Section { bytes: section, left: limit };
    // Required Insert Count: 0, or fields of a dynamic table would follow. The base then means nothing.
    if section.integer(8)? != 0 {
        return Err(SectionError::Malformed);
    }
    section.integer(7)?;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    while let Some(&first) = section.bytes.first() {
        if first & 0x80 != 0 {
            let (name, value) = section.entry(first & 0x40 != 0, 6)?;
            section.spend(name.len() + value.len())?;
            take(name.as_bytes(), value.as_bytes());
        } else if first & 0x40 != 0 {
            let (name, _) = section.entry(first & 0x10 != 0, 4)?;
            section.spend(name.len())?;
            section.string(7, &mut value)?;
            take(name.as_bytes(), &value);
        } else if first & 0x20 != 0 {
            section.string(3, &mut name)?;
            section.string(7, &mut value)?;
            take(&name, &value);
        } else {
            // Relative to the base: of the dynamic table.
            return Err(SectionError::Malformed);
        }
    }
    Ok(())
}

struct Section<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Section<'a> {
    fn spend(&mut self, bytes: usize) -> Result<(), SectionError> {
        self.left = self.left.checked_sub(bytes).ok_or(SectionError::TooLong)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, SectionError> {
        let (&first, rest) = self.bytes.split_first().ok_or(SectionError::Malformed)?;
        self.bytes = rest;
        Ok(first)
    }

    /// An integer whose first byte has so many bits for it (RFC 7541 section 5.1).
    fn integer(&mut self, prefix: u32) -> Result<u64, SectionError> {
        let most = (1u64 << prefix) - 1;
        let mut number = u64::from(self.byte()?) & most;
        if number < most {
            return Ok(number);
        }
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            number += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(SectionError::Malformed)
    }

    fn entry(&mut self, is_static: bool, prefix: u32) -> Result<(&'static str, &'static str), SectionError> {
        let index = self.integer(prefix)?;
        let index = usize::try_from(index).map_err(|_| SectionError::Malformed)?;
        STATIC.get(index).copied().filter(|_| is_static).ok_or(SectionError::Malformed)
    }

    /// A string whose first byte has so many bits for its length, and one before them that tells of Huffman coding.
    fn string(&mut self, prefix: u32, out: &mut Vec<u8>) -> Result<(), SectionError> {
        out.clear();
        let is_coded = self.bytes.first().is_some_and(|first| first >> prefix & 1 == 1);
        let length = usize::try_from(self.integer(prefix)?).map_err(|_| SectionError::Malformed)?;
        let (string, rest) = self.bytes.split_at_checked(length).ok_or(SectionError::Malformed)?;
        self.bytes = rest;
        if is_coded {
            // No code is longer than 30 bits: more than the limit's worth of them is too long, not malformed.
            if length > 4 * self.left {
                return Err(SectionError::TooLong);
            }
            huffman::decode(string, 2 * length, out).ok_or(SectionError::Malformed)?;
        } else {
            self.spend(length)?;
            out.extend_from_slice(string);
            return Ok(());
        }
        self.spend(out.len())
    }
}

/// Appends the section of a response.
pub fn encode_response(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    out.extend_from_slice(&[0, 0]);
    push_field(out, ":status", status.as_str().as_bytes(), Some(STATUS));
    push_fields(out, fields);
}

/// Appends the section of trailers.
pub fn encode_trailers(out: &mut Vec<u8>, fields: &HeaderMap) {
    out.extend_from_slice(&[0, 0]);
    push_fields(out, fields);
}

fn push_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        let name = name.as_str();
        push_field(out, name, value.as_bytes(), INDEX.names.get(name).copied());
    }
}

/// `place`: of any entry with that name.
fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8], place: Option<u8>) {
    let Some(place) = place else {
        push_integer(out, 0x20, 3, name.len());
        out.extend_from_slice(name.as_bytes());
        return push_string(out, value);
    };
    match INDEX.fields.get(&(name.as_bytes(), value)) {
        Some(&both) => push_integer(out, 0xc0, 6, both.into()),
        None => {
            push_integer(out, 0x50, 4, place.into());
            push_string(out, value);
        }
    }
}

fn push_string(out: &mut Vec<u8>, string: &[u8]) {
    push_integer(out, 0, 7, string.len());
    out.extend_from_slice(string);
}

fn push_integer(out: &mut Vec<u8>, first: u8, prefix: u32, number: usize) {
    let most = (1usize << prefix) - 1;
    if number < most {
        return out.push(first | number as u8);
    }
    out.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The static table by content.
struct Index {
    names: HashMap<&'static str, u8>,
    fields: HashMap<(&'static [u8], &'static [u8]), u8>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let all = || STATIC.iter().zip(0u8..);
    Index {
        // Of several entries the last one remains; which it is makes no difference.
        names: all().map(|((name, _), place)| (*name, place)).collect(),
        fields: all().map(|((name, value), place)| ((name.as_bytes(), value.as_bytes()), place)).collect(),
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    fn decoded(section: &[u8]) -> Result<Fields, SectionError> {
        let mut fields = Fields::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        decode(section, 1000, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn fields(all: &[(&str, &str)]) -> Fields {
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn reads_the_example_of_rfc_9204() {
        // Appendix B.1: a literal field line with a name of the static table.
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(decoded(section), Ok(fields(&[(":path", "/index.html")])));
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut headers = HeaderMap::new();
        let [seventh, whole, long] = [127, 300, 350].map(|length| "v".repeat(length));
        let all = [
            ("content-type", "text/plain"),
            ("content-type", "text/unknown"),
            ("x-own", ""),
            ("a-name-of-more-than-seven-bytes", long.as_str()),
            // What just does not fit the first byte, and what fills the bytes behind it.
            ("x-seven", seventh.as_str()),
            ("x-whole", whole.as_str()),
            ("server", "us"),
            ("x-frame-options", "sameorigin"),
        ];
        for (name, value) in all {
            headers.append(name, value.parse().unwrap());
        }
        for status in [100, 103, 200, 404, 500, 204, 418, 599] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut section = Vec::new();
            encode_response(&mut section, status, &headers);
            let mut expected = fields(&[(":status", status.as_str())]);
            expected.extend(
                headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())),
            );
            assert_eq!(decoded(&section), Ok(expected.clone()));
            let mut trailers = Vec::new();
            encode_trailers(&mut trailers, &headers);
            assert_eq!(decoded(&trailers), Ok(expected[1..].to_vec()));
        }
    }

    /// A Huffman-coded string: `code` so many times, then the ones that fill the last byte.
    fn coded(code: &str, count: usize) -> Vec<u8> {
        let mut bits = code.repeat(count);
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let bytes = (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        [&[0x80 | bytes.len() as u8], &*bytes].concat()
    }

    #[test]
    fn reads_coded_strings_as_long_as_may_be() {
        // The shortest code, that of `0`, and the longest, that of LF; `:path` is five bytes.
        for (code, text) in [("00000", "0"), ("111111111111111111111111111100", "\n")] {
            for count in [1, 10, 16] {
                let section = [&[0, 0, 0x51], &*coded(code, count)].concat();
                let expected = fields(&[(":path", &text.repeat(count))]);
                assert_eq!(decoded(&section), Ok(expected), "{text:?} {count}");
                assert_eq!(decode(&section, 5 + count, |_, _| {}), Ok(()), "{text:?} {count}");
                let refused = decode(&section, 4 + count, |_, _| {});
                assert_eq!(refused, Err(SectionError::TooLong), "{text:?} {count}");
            }
        }
        // A name that is written out: its length has three bits.
        let section = b"\0\0\x2a\x64\x02\x86\xa8\xeb\x10\x64\x9c\xbf";
        assert_eq!(decoded(section), Ok(fields(&[("302", "no-cache")])));
        assert_eq!(decoded(b"\0\0\x51\x81\0"), Err(SectionError::Malformed), "padding of zeros");
    }

    #[test]
    fn refuses_a_dynamic_table_and_what_ends_early() {
        let refused: [&[u8]; 11] = [
            &[],
            &[0],
            // Required Insert Count 1; an indexed line, a name and lines after the base of the dynamic table.
            &[1, 0],
            &[0, 0, 0x80],
            &[0, 0, 0x40, 0],
            &[0, 0, 0x10],
            // The same with as much behind them as a line of another kind would have.
            &[0, 0, 0x10, 0],
            &[0, 0, 0x00, 0],
            // Past the static table's end; a string longer than the section; an integer without end.
            &[0, 0, 0xff, 36],
            &[0, 0, 0x51, 5, b'a'],
            &[0, 0, 0x51, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        for section in refused {
            assert_eq!(decoded(section), Err(SectionError::Malformed), "{section:?}");
        }
    }

    #[test]
    fn a_short_section_cannot_become_a_long_list() {
        // `content-security-policy` with its value of 52 bytes, in two bytes each.
        let mut section = vec![0, 0];
        for _ in 0..20 {
            push_integer(&mut section, 0xc0, 6, 85);
        }
        assert_eq!(decoded(&section), Err(SectionError::TooLong));
    }
}
