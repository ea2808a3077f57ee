//! Codes of errors: `Family.Subject`, as ALB's API spells them, so that a program can tell errors apart and a person
//! can look them up.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What kind of rule is broken, and by which setting or relation: `IllegalParam.Weight`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ErrorCode {
    /// The kind.
    pub family: ErrorFamily,
    /// A field by ALB's name, a kind of thing, or two settings that exclude each other.
    pub subject: Cow<'static, str>,
}

macro_rules! families {
    ($($(#[$doc:meta])* $family:ident,)*) => {
        /// Kinds of errors (the table "Error conventions" of the requirements).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorFamily {
            $($(#[$doc])* $family,)*
        }

        impl ErrorFamily {
            const ALL: &'static [ErrorFamily] = &[$(ErrorFamily::$family),*];

            fn as_str(self) -> &'static str {
                match self {
                    $(ErrorFamily::$family => stringify!($family),)*
                }
            }
        }
    };
}

families! {
    /// A setting that must be written is not.
    MissingParam,
    /// A value outside its rule.
    IllegalParam,
    /// The same thing twice.
    DuplicatedParam,
    /// Two things that do not fit each other.
    Mismatch,
    /// Settings, or a setting and what is attached, that exclude each other.
    OperationDenied,
    /// More than a limit allows.
    QuotaExceeded,
    /// A thing in a state that does not allow it.
    IncorrectStatus,
    /// A thing that others refer to.
    ResourceInUse,
    /// A thing of that name exists.
    ResourceAlreadyExist,
    /// No thing of that name exists.
    ResourceNotFound,
    /// Two things claim the same.
    Conflict,
}

impl ErrorFamily {
    /// The code of this family about `subject`.
    pub fn of(self, subject: impl Into<Cow<'static, str>>) -> ErrorCode {
        ErrorCode { family: self, subject: subject.into() }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.family.as_str(), self.subject)
    }
}

impl From<ErrorCode> for String {
    fn from(code: ErrorCode) -> Self {
        code.to_string()
    }
}

impl TryFrom<String> for ErrorCode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once('.')
            .and_then(|(family, subject)| {
                let family = ErrorFamily::ALL.iter().find(|known| known.as_str() == family)?;
                Some(family.of(subject.to_owned()))
            })
            .ok_or_else(|| format!("{text:?} is no error code"))
    }
}

/// A key of a file as the API spells its fields: `cookie_timeout` is `CookieTimeout`.
pub(super) fn camel_case(key: &str) -> String {
    let words = key.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .flat_map(|word| {
            let is_abbreviation = word.chars().all(|c| c.is_ascii_uppercase());
            word.chars().enumerate().map(move |(place, c)| match place {
                0 => c.to_ascii_uppercase(),
                _ if is_abbreviation => c.to_ascii_lowercase(),
                _ => c,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ErrorFamily::*;
    use super::*;

    #[test]
    fn is_written_and_read_as_one_word() {
        for (code, text) in [
            (IllegalParam.of("Weight"), "\"IllegalParam.Weight\""),
            (ResourceAlreadyExist.of("Listener"), "\"ResourceAlreadyExist.Listener\""),
        ] {
            assert_eq!(serde_json::to_string(&code).unwrap(), text);
            assert_eq!(serde_json::from_str::<ErrorCode>(text).unwrap(), code);
        }
        for text in ["\"Weight\"", "\"Illegal.Weight\"", "\"\""] {
            assert!(serde_json::from_str::<ErrorCode>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spells_keys_as_the_api_does() {
        assert_eq!(camel_case("cookie_timeout"), "CookieTimeout");
        assert_eq!(camel_case("weight"), "Weight");
        assert_eq!(camel_case("VPC"), "Vpc");
        assert_eq!(camel_case("vSwitch"), "VSwitch");
        assert_eq!(camel_case("we\u{a0}ird-key!"), "WeIrdKey");
    }
}
