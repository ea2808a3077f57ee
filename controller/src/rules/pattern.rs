//! Literals, wildcards and regular expressions, compiled (LR-80 to LR-85).
//!
//! Everything here works on bytes as they came: what a client sends need not be UTF-8, and in a regular expression `.`
//! and `\w` mean single bytes unless it says `(?u)`.

use super::wildcard::Wildcard;
use crate::model::Pattern;
use regex::bytes::{Regex, RegexBuilder};

/// A regular expression that takes more memory compiled is refused (LR-85). Its search is linear in the text, but with
/// a factor that may be as large as this.
const REGEX_BYTES_MAX: usize = 256 << 10;
/// Memory for each regular expression and thread in which its search goes faster; beyond, it goes slower.
const REGEX_CACHE_BYTES_MAX: usize = 256 << 10;
/// Parentheses within each other.
const REGEX_NEST_MAX: u32 = 32;

/// What a pattern is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The host, in which case never matters (LR-82, LR-84).
    Host,
    /// Anything else.
    Other,
}

/// Number of capture groups of `pattern` (LR-98); 0 unless it is a regular expression. A rule set takes every pattern
/// that this accepts.
///
/// Errors: what is wrong with the pattern, on one line: a regular expression that is none, uses back-references or
/// look-around (LR-85), or is too large; a wildcard with over 128 characters between two `*` and a `?` among them.
pub fn check_pattern(pattern: &Pattern, subject: Subject) -> Result<usize, String> {
    Ok(match Matcher::new(pattern, subject)? {
        // The whole match counts as a group there.
        Matcher::Regex(regex) => regex.captures_len() - 1,
        _ => 0,
    })
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) enum Matcher {
    /// The whole text.
    Literal(Box<[u8]>),
    /// What the text begins with.
    Prefix(Box<[u8]>),
    /// What the text ends with.
    Suffix(Box<[u8]>),
    /// Any other wildcard.
    Wildcard(Box<Wildcard>),
    /// What is found in the text.
    Regex(Box<Regex>),
}

/// What an index can find a pattern by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    /// The whole text.
    Exact(&'a [u8]),
    /// What the text begins with; not empty.
    Prefix(&'a [u8]),
    /// What the text ends with; not empty.
    Suffix(&'a [u8]),
    /// Nothing: every text may match.
    Any,
}

impl Matcher {
    /// Errors: as of [`check_pattern`].
    pub(super) fn new(pattern: &Pattern, subject: Subject) -> Result<Matcher, String> {
        let bytes = |text: &str| match subject {
            Subject::Host => text.to_ascii_lowercase().into_bytes().into_boxed_slice(),
            Subject::Other => text.as_bytes().into(),
        };
        match pattern {
            Pattern::Literal(text) => Ok(Matcher::Literal(bytes(text))),
            Pattern::Wildcard(text) => Matcher::glob(&bytes(text)),
            Pattern::Regex { pattern, ignore_case } => {
                regex(pattern, *ignore_case || subject == Subject::Host)
                    .map(|regex| Matcher::Regex(regex.into()))
            }
        }
    }

    fn glob(text: &[u8]) -> Result<Matcher, String> {
        let is_literal = |part: &[u8]| !part.contains(&b'*') && !part.contains(&b'?');
        if is_literal(text) {
            return Ok(Matcher::Literal(text.into()));
        }
        if let Some(prefix) = text.strip_suffix(b"*").filter(|prefix| is_literal(prefix)) {
            return Ok(Matcher::Prefix(prefix.into()));
        }
        if let Some(suffix) = text.strip_prefix(b"*").filter(|suffix| is_literal(suffix)) {
            return Ok(Matcher::Suffix(suffix.into()));
        }
        Ok(Matcher::Wildcard(Wildcard::new(text)?.into()))
    }

    /// Whether `text`, for a host in lower case, looks like this.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Matcher::Literal(literal) => **literal == *text,
            Matcher::Prefix(prefix) => text.starts_with(prefix),
            Matcher::Suffix(suffix) => text.ends_with(suffix),
            Matcher::Wildcard(wildcard) => wildcard.matches(text),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }

    /// What an index finds this by, and whether being found by it is all there is to match.
    pub(super) fn key(&self) -> (Key<'_>, bool) {
        match self {
            Matcher::Literal(literal) => (Key::Exact(literal), true),
            Matcher::Prefix(prefix) if prefix.is_empty() => (Key::Any, true),
            Matcher::Prefix(prefix) => (Key::Prefix(prefix), true),
            Matcher::Suffix(suffix) => (Key::Suffix(suffix), true),
            Matcher::Wildcard(wildcard) => {
                // The longer one leaves fewer texts.
                let (prefix, suffix) = (wildcard.literal_prefix(), wildcard.literal_suffix());
                let key = if suffix.len() > prefix.len() {
                    Key::Suffix(suffix)
                } else if prefix.is_empty() {
                    Key::Any
                } else {
                    Key::Prefix(prefix)
                };
                (key, false)
            }
            Matcher::Regex(_) => (Key::Any, false),
        }
    }
}

fn regex(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .nest_limit(REGEX_NEST_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
        // Many lines: the pattern, a mark below the place, and last what is wrong.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(pattern: &Pattern, subject: Subject) -> Matcher {
        Matcher::new(pattern, subject).unwrap()
    }

    fn expression(pattern: &str) -> Pattern {
        Pattern::Regex { pattern: pattern.into(), ignore_case: false }
    }

    // Holds LR-81, LR-83
    #[test]
    fn a_literal_is_the_whole_text_in_this_case() {
        let literal = matcher(&Pattern::glob("/api"), Subject::Other);
        assert!(literal.matches(b"/api"));
        for other in ["/api/", "/api/x", "/ap", "/API", "", "x/api"] {
            assert!(!literal.matches(other.as_bytes()), "{other}");
        }
        let starred = matcher(&Pattern::Literal("/a*".into()), Subject::Other);
        assert!(starred.matches(b"/a*") && !starred.matches(b"/ab"));
    }

    // Holds LR-80, LR-82
    #[test]
    fn wildcards_match_whole_texts() {
        let cases = [
            ("/*", Subject::Other, "/any/path", true),
            ("/*", Subject::Other, "x/", false),
            ("/api/*", Subject::Other, "/api/", true),
            ("/api/*", Subject::Other, "/api", false),
            ("*.Example.com", Subject::Host, "a.b.example.com", true),
            ("*.example.com", Subject::Host, "example.com", false),
            ("/*.jpg", Subject::Other, "/a/b.jpg", true),
            ("/*.jpg", Subject::Other, ".jpg", false),
            ("WWW.?.com", Subject::Host, "www.a.com", true),
            ("a?*", Subject::Other, "ab", true),
            ("a?*", Subject::Other, "a", false),
            ("*?a", Subject::Other, "a", false),
            ("*", Subject::Other, "", true),
        ];
        for (pattern, subject, text, expected) in cases {
            let found = matcher(&Pattern::glob(pattern), subject).matches(text.as_bytes());
            assert_eq!(found, expected, "{pattern} {text}");
        }
        // Not made by `glob`, but what a snapshot may hold.
        assert!(matcher(&Pattern::Wildcard("/a".into()), Subject::Other).matches(b"/a"));
    }

    // Holds LR-84
    #[test]
    fn a_regular_expression_is_found_anywhere_and_case_matters_where_it_says() {
        let case = |pattern: &str, ignore_case: bool, subject, text: &[u8]| {
            matcher(&Pattern::Regex { pattern: pattern.into(), ignore_case }, subject).matches(text)
        };
        assert!(case("b+", false, Subject::Other, b"/abc"));
        assert!(!case("^b+", false, Subject::Other, b"/abc"));
        assert!(!case("B", false, Subject::Other, b"/abc"));
        assert!(case("B", true, Subject::Other, b"/abc"));
        assert!(case("^www.EXAMPLE.com$", false, Subject::Host, b"www.example.com"));
        assert!(case("^/.$", false, Subject::Other, b"/\xff"));
        assert!(!case("^/.$", false, Subject::Other, "/é".as_bytes()));
    }

    #[test]
    fn an_index_finds_a_pattern_by_what_it_is_sure_of() {
        let key = |pattern: &str| {
            let matcher = matcher(&Pattern::glob(pattern), Subject::Other);
            let (key, is_all) = matcher.key();
            let (kind, text) = match key {
                Key::Exact(text) => ("exact", text),
                Key::Prefix(text) => ("prefix", text),
                Key::Suffix(text) => ("suffix", text),
                Key::Any => ("any", &b""[..]),
            };
            (kind, String::from_utf8(text.to_vec()).unwrap(), is_all)
        };
        let cases = [
            ("/a", ("exact", "/a", true)),
            ("/a*", ("prefix", "/a", true)),
            ("*.b", ("suffix", ".b", true)),
            ("*", ("any", "", true)),
            ("**", ("any", "", false)),
            ("/ab*c", ("prefix", "/ab", false)),
            ("/a*cd", ("prefix", "/a", false)),
            ("/*.jpg", ("suffix", ".jpg", false)),
            ("*?*", ("any", "", false)),
            ("/a?", ("prefix", "/a", false)),
        ];
        for (pattern, (kind, text, is_all)) in cases {
            assert_eq!(key(pattern), (kind, text.to_owned(), is_all), "{pattern}");
        }
        assert_eq!(matcher(&expression("^/a$"), Subject::Other).key(), (Key::Any, false));
    }

    // Holds LR-98
    #[test]
    fn counts_capture_groups() {
        for (pattern, groups) in [("^/a", 0), ("^/(a)/(?:b)", 1), ("(a)(?P<name>b)(c)(d)", 4)] {
            assert_eq!(check_pattern(&expression(pattern), Subject::Other), Ok(groups), "{pattern}");
        }
        assert_eq!(check_pattern(&Pattern::glob("/(a)*"), Subject::Other), Ok(0));
    }

    // Holds LR-85
    #[test]
    fn refuses_what_is_no_regular_expression_or_too_large() {
        let cases = [
            ("(a", "unclosed group"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?=a)b", "look-around, including look-ahead and look-behind, is not supported"),
            ("((a{100}){100}){100}", "it is too large once compiled"),
            (r"\pL", "Unicode not allowed here"),
        ];
        for (pattern, error) in cases {
            assert_eq!(
                check_pattern(&expression(pattern), Subject::Other),
                Err(error.to_owned()),
                "{pattern}"
            );
        }
        let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(check_pattern(&expression(&nested(30)), Subject::Other).is_ok());
        let error = check_pattern(&expression(&nested(40)), Subject::Other).unwrap_err();
        assert!(error.contains("nested parentheses"), "{error}");
        let error =
            check_pattern(&Pattern::glob(format!("*?{}*", "a".repeat(128))), Subject::Other).unwrap_err();
        assert!(error.contains("at most 128"), "{error}");
    }
}
