//! Paths and queries with variables (LR-97, LR-98, LR-101).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Text with variables, e.g. `/old${path}` or `/${1}/${2}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// `${protocol}`: `http` or `https`, as the client speaks.
    Protocol,
    /// `${host}`: the host asked for, without port.
    Host,
    /// `${port}`: the port asked for.
    Port,
    /// `${path}`: the path asked for.
    Path,
    /// `${query}`: the query asked for, without the `?`.
    Query,
    /// `${1}` to `${3}`: what that group of the rule's regular expression captured.
    Capture(u8),
}

impl Template {
    /// The one that leaves a path as it is: `${path}`.
    pub fn path() -> Template {
        Template(vec![Piece::Path])
    }

    /// The one that leaves a query as it is: `${query}`.
    pub fn query() -> Template {
        Template(vec![Piece::Query])
    }

    /// The captures used, each as often as it is.
    pub fn captures(&self) -> impl Iterator<Item = u8> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Capture(number) => Some(*number),
            _ => None,
        })
    }
}

impl std::str::FromStr for Template {
    /// What is wrong.
    type Err = String;

    /// Text in which `${name}` is a variable; an unknown one is an error.
    fn from_str(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let tail = &rest[at + 2..];
            let end = tail.find('}').ok_or_else(|| format!("`${{` without `}}` in {text:?}"))?;
            pieces.push(match &tail[..end] {
                "protocol" => Piece::Protocol,
                "host" => Piece::Host,
                "port" => Piece::Port,
                "path" => Piece::Path,
                "query" => Piece::Query,
                "1" => Piece::Capture(1),
                "2" => Piece::Capture(2),
                "3" => Piece::Capture(3),
                other => return Err(format!("there is no variable `${{{other}}}`")),
            });
            rest = &tail[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }
}

impl fmt::Display for Template {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Protocol => f.write_str("${protocol}")?,
                Piece::Host => f.write_str("${host}")?,
                Piece::Port => f.write_str("${port}")?,
                Piece::Path => f.write_str("${path}")?,
                Piece::Query => f.write_str("${query}")?,
                Piece::Capture(number) => write!(f, "${{{number}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in
            ["", "/", "${path}", "/a${path}/b${1}${3}", "${protocol}://${host}:${port}?${query}", "a$b{}"]
        {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.to_string(), text);
        }
        assert_eq!("/x${2}".parse(), Ok(Template(vec![Piece::Text("/x".into()), Piece::Capture(2)])));
    }

    #[test]
    fn refuses_unknown_variables() {
        for text in ["${", "${path", "${4}", "${0}", "${Path}", "a${}"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}
