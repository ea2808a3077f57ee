//! Texts and what they must look like (LR-80 to LR-85).

use crate::model::Pattern;
use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};

/// Compiled size of one regular expression, bytes, and of its cache per thread.
const REGEX_BYTES: usize = 256 * 1024;

/// What a pattern is held against, as far as it decides how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A host; case never matters (LR-82, LR-84).
    Host,
    /// Anything else.
    Other,
}

/// A pattern ready to be held against texts.
#[derive(Clone, Debug)]
pub enum Compiled {
    Literal(Box<[u8]>),
    Wildcard(Wildcard),
    Regex(Regex),
}

/// How many groups of a regular expression capture; 0 for other patterns.
///
/// Errors: what is wrong with it, in words.
pub fn check_pattern(pattern: &Pattern, subject: Subject) -> Result<usize, String> {
    Ok(match Compiled::new(pattern, subject)? {
        Compiled::Regex(regex) => regex.captures_len() - 1,
        Compiled::Literal(_) | Compiled::Wildcard(_) => 0,
    })
}

impl Compiled {
    /// Errors: what is wrong with a regular expression, in words.
    pub fn new(pattern: &Pattern, subject: Subject) -> Result<Compiled, String> {
        Ok(match pattern {
            Pattern::Literal(text) => Compiled::Literal(text.as_bytes().into()),
            Pattern::Wildcard(text) => Compiled::Wildcard(Wildcard::new(text.as_bytes())),
            Pattern::Regex { pattern, ignore_case } => Compiled::Regex(
                RegexBuilder::new(pattern)
                    .case_insensitive(*ignore_case || subject == Subject::Host)
                    // Paths and hosts are bytes, of which only ASCII means anything.
                    .unicode(false)
                    .size_limit(REGEX_BYTES)
                    .dfa_size_limit(REGEX_BYTES)
                    .build()
                    .map_err(|error| match error {
                        regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
                        error => last_line(&error.to_string()),
                    })?,
            ),
        })
    }

    /// Whether `text` looks like it.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Compiled::Literal(literal) => **literal == *text,
            Compiled::Wildcard(wildcard) => wildcard.matches(text),
            Compiled::Regex(regex) => regex.is_match(text),
        }
    }
}

/// What the crate draws over several lines ends with the words.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// A pattern with `*` and `?`.
#[derive(Clone, Debug)]
pub struct Wildcard {
    /// Between the `*`; `?` stands for itself here. At least one.
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    text: Box<[u8]>,
    has_unknown: bool,
}

impl Wildcard {
    pub fn new(pattern: &[u8]) -> Wildcard {
        let segment = |text: &[u8]| Segment { text: text.into(), has_unknown: text.contains(&b'?') };
        Wildcard { segments: pattern.split(|&byte| byte == b'*').map(segment).collect() }
    }

    /// The literal text it begins with, and the one it ends with.
    pub fn ends(&self) -> (&[u8], &[u8]) {
        let first = &self.segments[0].text;
        let last = &self.segments[self.segments.len() - 1].text;
        let is_unknown = |&byte: &u8| byte == b'?';
        let prefix = first.iter().position(is_unknown).unwrap_or(first.len());
        let suffix = last.iter().rposition(is_unknown).map_or(0, |at| at + 1);
        (&first[..prefix], &last[suffix..])
    }

    /// Whether it is no more than a literal beginning, or a literal end.
    pub fn is_one_end(&self) -> bool {
        match self.segments.as_slice() {
            [first, last] => {
                !first.has_unknown && !last.has_unknown && (first.text.is_empty() || last.text.is_empty())
            }
            _ => false,
        }
    }

    /// Each segment is taken where it first fits behind the one before, which is right if anything is: what follows a
    /// `*` only gains from more room. So there is no backtracking, and the work is bounded by the text's length times
    /// that of one segment.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (first, rest) = self.segments.split_first().expect("a pattern has at least one segment");
        let Some((last, middle)) = rest.split_last() else {
            return first.text.len() == text.len() && first.fits(text);
        };
        if text.len() < first.text.len() + last.text.len() {
            return false;
        }
        let (end, text) = (text.len() - last.text.len(), text);
        if !first.fits(text) || !last.fits(&text[end..]) {
            return false;
        }
        let mut text = &text[first.text.len()..end];
        for segment in middle {
            let Some(at) = segment.find(text) else { return false };
            text = &text[at + segment.text.len()..];
        }
        true
    }
}

impl Segment {
    /// Whether `text` begins with it; `text` is as long at least.
    fn fits(&self, text: &[u8]) -> bool {
        let text = &text[..self.text.len()];
        if !self.has_unknown {
            return *self.text == *text;
        }
        self.text.iter().zip(text).all(|(wanted, byte)| *wanted == b'?' || wanted == byte)
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        if !self.has_unknown {
            return memmem::find(text, &self.text);
        }
        (0..=text.len().checked_sub(self.text.len())?).find(|&at| self.fits(&text[at..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Compiled::new(&Pattern::glob(pattern), Subject::Other).unwrap().matches(text.as_bytes())
    }

    // Holds LR-80, LR-81
    #[test]
    fn wildcards_stand_for_any_run_and_for_one() {
        for (pattern, text, expected) in [
            ("/api", "/api", true),
            ("/api", "/api/", false),
            ("/api", "/api/x", false),
            ("/api", "/ap", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/*", "", false),
            ("/api/*", "/api/", true),
            ("/api/*", "/api", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("/a?c", "/abbc", false),
            ("/a?c", "/abd", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", true),
            ("/*/b/*/d", "/a/b/c/d", true),
            ("/*/b/*/d", "/a/b/d", false),
            ("/*/b/*/d", "//b//d", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ab*ba", "aba", false),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("*a?b*", "xxaabacbx", true),
            ("*a?b*", "xxabab", false),
            ("*", "", true),
            ("**", "anything", true),
            ("?", "", false),
            ("?*", "x", true),
            ("*?", "", false),
            ("*?", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    // Holds LR-84, LR-85
    #[test]
    fn regular_expressions_are_found_anywhere() {
        let regex = |pattern: &str, ignore_case, subject, text: &str| {
            let pattern = Pattern::Regex { pattern: pattern.into(), ignore_case };
            Compiled::new(&pattern, subject).map(|compiled| compiled.matches(text.as_bytes()))
        };
        assert_eq!(regex("/v[0-9]+", false, Subject::Other, "/api/v12/x"), Ok(true));
        assert_eq!(regex("^/v[0-9]+$", false, Subject::Other, "/api/v12"), Ok(false));
        assert_eq!(regex("^/V", false, Subject::Other, "/v"), Ok(false));
        assert_eq!(regex("^/V", true, Subject::Other, "/v"), Ok(true));
        assert_eq!(regex("^www.example.com$", false, Subject::Host, "www.Example.com"), Ok(true));
        for wrong in [r"(a)\1", "a(?=b)", "(", "a{100000}{100000}"] {
            assert!(regex(wrong, false, Subject::Other, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_what_a_regular_expression_captures() {
        let count = |pattern: Pattern| check_pattern(&pattern, Subject::Other);
        let regex = |text: &str| Pattern::Regex { pattern: text.into(), ignore_case: false };
        assert_eq!(count(regex("^/(a)/(?:b)/(c)")), Ok(2));
        assert_eq!(count(Pattern::glob("/(a)")), Ok(0));
        assert_eq!(count(regex("(")), Err("unclosed group".into()));
        assert_eq!(count(regex("(a{1000}){1000}")), Err("it is too large once compiled".into()));
    }

    #[test]
    fn knows_the_literal_ends() {
        for (pattern, ends, is_one_end) in [
            ("/a*", ("/a", ""), true),
            ("*.b", ("", ".b"), true),
            ("/a*b", ("/a", "b"), false),
            ("/a?c*", ("/a", ""), false),
            ("*a?c", ("", "c"), false),
            ("/a?b", ("/a", "b"), false),
            ("/a*b*", ("/a", ""), false),
            ("*", ("", ""), true),
        ] {
            let wildcard = Wildcard::new(pattern.as_bytes());
            assert_eq!(wildcard.ends(), (ends.0.as_bytes(), ends.1.as_bytes()), "{pattern}");
            assert_eq!(wildcard.is_one_end(), is_one_end, "{pattern}");
        }
    }
}
