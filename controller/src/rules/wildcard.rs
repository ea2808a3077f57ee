//! Wildcards over bytes (LR-80): `*` stands for any run of bytes, also for none and across `/` and `.`; `?` for exactly
//! one byte.
//!
//! A pattern falls into segments between its `*`. The first is held against the text's beginning, the last against its
//! end, and each of the others is taken at the first place it is found behind the one before: a later place can never
//! do where the first does not. Nothing is ever taken back, and every search is linear in the text, so that a text
//! costs at most its length and the pattern's, whoever chose it.

use memchr::memmem;

/// The most bytes a segment between two `*` may have if it holds a `?`: the bits of a [`Masked`] state.
pub(super) const MASKED_BYTES_MAX: usize = u128::BITS as usize;

/// A pattern with at least one `*` or `?`.
#[derive(Debug)]
pub(super) struct Wildcard {
    /// What the text begins with.
    head: Segment,
    /// What follows the first `*`; `None` if there is no `*`.
    after: Option<After>,
}

#[derive(Debug)]
struct After {
    /// What is found between head and tail, in this order.
    floating: Vec<Floating>,
    /// What the text ends with.
    tail: Segment,
}

impl Wildcard {
    /// Errors: a segment between two `*` that holds a `?` is longer than [`MASKED_BYTES_MAX`].
    pub(super) fn new(pattern: &[u8]) -> Result<Wildcard, String> {
        let mut segments: Vec<&[u8]> = pattern.split(|byte| *byte == b'*').collect();
        let head = Segment::new(segments.remove(0));
        let Some(tail) = segments.pop() else { return Ok(Wildcard { head, after: None }) };
        let floating = segments.into_iter().filter(|segment| !segment.is_empty());
        let floating = floating.map(Floating::new).collect::<Result<_, _>>()?;
        Ok(Wildcard { head, after: Some(After { floating, tail: Segment::new(tail) }) })
    }

    /// Whether the whole of `text` looks like this.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some((head, rest)) = text.split_at_checked(self.head.bytes.len()) else { return false };
        if !self.head.matches(head) {
            return false;
        }
        let Some(after) = &self.after else { return rest.is_empty() };
        let Some(between) = rest.len().checked_sub(after.tail.bytes.len()) else { return false };
        let (mut rest, tail) = rest.split_at(between);
        after.tail.matches(tail)
            && after.floating.iter().all(|segment| match segment.find_end(rest) {
                Some(end) => {
                    rest = &rest[end..];
                    true
                }
                None => false,
            })
    }

    /// What every text begins with, up to the first `*` or `?`.
    pub(super) fn literal_prefix(&self) -> &[u8] {
        let bytes = &self.head.bytes;
        &bytes[..bytes.iter().position(|byte| *byte == b'?').unwrap_or(bytes.len())]
    }

    /// What every text ends with, from the last `*` or `?` on.
    pub(super) fn literal_suffix(&self) -> &[u8] {
        let bytes = self.after.as_ref().map_or(&self.head.bytes, |after| &after.tail.bytes);
        &bytes[bytes.iter().rposition(|byte| *byte == b'?').map_or(0, |last| last + 1)..]
    }
}

/// Bytes of which `?` stands for any.
#[derive(Debug)]
struct Segment {
    bytes: Box<[u8]>,
    is_literal: bool,
}

impl Segment {
    fn new(bytes: &[u8]) -> Segment {
        Segment { bytes: bytes.into(), is_literal: !bytes.contains(&b'?') }
    }

    /// `text` is as long as this.
    fn matches(&self, text: &[u8]) -> bool {
        if self.is_literal {
            return *self.bytes == *text;
        }
        self.bytes.iter().zip(text).all(|(wanted, byte)| *wanted == b'?' || wanted == byte)
    }
}

/// A segment that may stand anywhere.
#[derive(Debug)]
enum Floating {
    /// Without a `?`.
    Literal(Box<memmem::Finder<'static>>),
    /// Nothing but so many `?`.
    Bytes(usize),
    /// Of both.
    Masked(Box<Masked>),
}

impl Floating {
    fn new(segment: &[u8]) -> Result<Floating, String> {
        if !segment.contains(&b'?') {
            return Ok(Floating::Literal(Box::new(memmem::Finder::new(segment).into_owned())));
        }
        if segment.iter().all(|byte| *byte == b'?') {
            return Ok(Floating::Bytes(segment.len()));
        }
        if segment.len() > MASKED_BYTES_MAX {
            return Err(format!(
                "{} characters between two `*`, one of them a `?`; at most {MASKED_BYTES_MAX}",
                segment.len()
            ));
        }
        Ok(Floating::Masked(Box::new(Masked::new(segment))))
    }

    /// Where the first occurrence in `text` ends.
    fn find_end(&self, text: &[u8]) -> Option<usize> {
        match self {
            Floating::Literal(finder) => Some(finder.find(text)? + finder.needle().len()),
            Floating::Bytes(count) => (*count <= text.len()).then_some(*count),
            Floating::Masked(masked) => masked.find_end(text),
        }
    }
}

/// Finds a segment with `?` in one pass: bit `i` of the state says whether the segment's first `i + 1` bytes end at the
/// byte just read (Shift-And, Baeza-Yates and Gonnet 1992).
#[derive(Debug)]
struct Masked {
    /// Which of `masks` is that of each byte.
    classes: [u8; 256],
    /// Where in the segment a byte may stand. The first is that of bytes that the segment does not name.
    masks: Vec<u128>,
    /// The bit of the segment's last byte.
    last: u128,
}

impl Masked {
    /// `segment` has 1 to [`MASKED_BYTES_MAX`] bytes.
    fn new(segment: &[u8]) -> Masked {
        let places = |is_there: &dyn Fn(u8) -> bool| {
            let numbered = segment.iter().enumerate();
            numbered.filter(|(_, byte)| is_there(**byte)).fold(0, |mask, (place, _)| mask | 1_u128 << place)
        };
        let mut masked = Masked {
            classes: [0; 256],
            masks: vec![places(&|byte| byte == b'?')],
            last: 1 << (segment.len() - 1),
        };
        for &wanted in segment {
            let class = &mut masked.classes[usize::from(wanted)];
            if wanted != b'?' && *class == 0 {
                // At most 128 bytes, so at most 128 classes.
                *class = masked.masks.len() as u8;
                masked.masks.push(places(&|byte| byte == b'?' || byte == wanted));
            }
        }
        masked
    }

    fn find_end(&self, text: &[u8]) -> Option<usize> {
        let mut state = 0;
        let last = text.iter().position(|byte| {
            state = (state << 1 | 1) & self.masks[usize::from(self.classes[usize::from(*byte)])];
            state & self.last != 0
        })?;
        Some(last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn matches(pattern: &str, text: &str) -> bool {
        Wildcard::new(pattern.as_bytes()).unwrap().matches(text.as_bytes())
    }

    // Holds LR-80
    #[test]
    fn a_star_stands_for_any_run_and_a_question_mark_for_one_character() {
        let yes = [
            ("*", &["", "a", "/a/b.c"][..]),
            ("**", &["", "a"]),
            ("/*", &["/", "/a", "/a/b/c"]),
            ("*.example.com", &["a.example.com", "a.b.example.com", ".example.com"]),
            ("/api/*/users", &["/api/v1/users", "/api/a/b/users", "/api//users", "/api/x/users/users"]),
            ("?", &["a", "?", "*"]),
            ("/a?c", &["/abc", "/a/c", "/a?c"]),
            ("*a?c*", &["abc", "xxabcxx", "aabc", "aaxc"]),
            ("*??*", &["ab", "abc"]),
            ("a*b*c", &["abc", "aXbXc", "abbc", "abcc", "abcbc"]),
            ("*ab*ab*", &["abab", "aabab"]),
            ("a?*?b", &["axxb", "axyzb"]),
            ("*?a?*a", &["xaxa", "xaxxa"]),
        ];
        for (pattern, texts) in yes {
            texts.iter().for_each(|text| assert!(matches(pattern, text), "{pattern} {text}"));
        }
        let no = [
            ("/*", &["", "a/"][..]),
            ("*.example.com", &["example.com", "a.example.org", "a.example.com.", "aexample.com"]),
            ("/api/*/users", &["/api/users", "/api/v1/user", "/api/v1/users/", "/ap/v1/users"]),
            ("?", &["", "ab"]),
            ("/a?c", &["/ac", "/abbc", "/abd", "xabc"]),
            ("*a?c*", &["", "ac", "acc".get(1..).unwrap(), "abd", "bac"]),
            ("*??*", &["", "a"]),
            ("a*b*c", &["ac", "acb", "bc", "ab"]),
            ("*ab*ab*", &["ab", "aba", "abba"]),
            ("ab*ba", &["aba", "ab", "ba"]),
            ("a?*?b", &["axb", "ab"]),
            ("*?a?*a", &["axa", "xaa"]),
        ];
        for (pattern, texts) in no {
            texts.iter().for_each(|text| assert!(!matches(pattern, text), "{pattern} {text}"));
        }
    }

    #[test]
    fn tells_what_every_text_begins_and_ends_with() {
        let cases = [
            ("/api/*", "/api/", ""),
            ("*.a.b", "", ".a.b"),
            ("/a?b*c?d", "/a", "d"),
            ("a?b", "a", "b"),
            ("?", "", ""),
            ("*", "", ""),
            ("a*?b*c", "a", "c"),
        ];
        for (pattern, prefix, suffix) in cases {
            let wildcard = Wildcard::new(pattern.as_bytes()).unwrap();
            assert_eq!(wildcard.literal_prefix(), prefix.as_bytes(), "{pattern}");
            assert_eq!(wildcard.literal_suffix(), suffix.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn a_floating_segment_may_have_128_characters() {
        let segment = format!("{}?b", "a".repeat(126));
        let long = Wildcard::new(format!("*{segment}*").as_bytes()).unwrap();
        assert!(long.matches(format!("aa{}xbx", "a".repeat(126)).as_bytes()));
        assert!(!long.matches(format!("aa{}xax", "a".repeat(126)).as_bytes()));
        let error = Wildcard::new(format!("*a{segment}*").as_bytes()).unwrap_err();
        assert_eq!(error, "129 characters between two `*`, one of them a `?`; at most 128");
        // At the ends, or without a `?`, there is no limit.
        assert!(Wildcard::new(format!("a{segment}*a{segment}").as_bytes()).is_ok());
        assert!(Wildcard::new(format!("*{}*", "a".repeat(500)).as_bytes()).is_ok());
        assert!(Wildcard::new(format!("*{}*", "?".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn every_byte_counts_as_one_character() {
        let wildcard = Wildcard::new(b"a?b").unwrap();
        for byte in 0..=255 {
            assert!(wildcard.matches(&[b'a', byte, b'b']), "{byte}");
        }
        assert!(!wildcard.matches("aéb".as_bytes()));
        assert!(Wildcard::new("*é?x*".as_bytes()).unwrap().matches("aéax".as_bytes()));
    }
}
