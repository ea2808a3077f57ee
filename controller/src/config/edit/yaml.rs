//! A document that is changed and written back: a tree without positions, its keys in the order they were written.
//!
//! Comments, anchors and the layout of the text it came from are lost: what is kept is what it says.

use crate::config::tree::{Tree, Value};
use serde::ser::{Serialize, Serializer};
use serde_saphyr::{FlowMap, FlowSeq};

/// Lists and mappings up to this many characters stand on one line.
const LINE_CHARS_MAX: usize = 110;

/// What YAML can hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Yaml>),
    Map(Map),
}

/// Keys and values, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Vec<(String, Yaml)>);

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Yaml> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Replaces the value where the key stands, or adds both at the end.
    pub(super) fn set(&mut self, key: &str, value: Yaml) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The mappings in the list under `key`; none where there is no such list.
    pub(super) fn maps_mut(&mut self, key: &str) -> impl Iterator<Item = &mut Map> {
        let items = match self.get_mut(key) {
            Some(Yaml::List(items)) => items.as_mut_slice(),
            _ => &mut [],
        };
        items.iter_mut().filter_map(|item| match item {
            Yaml::Map(map) => Some(map),
            _ => None,
        })
    }

    /// The list under `key`, made where there is none.
    pub(super) fn list_mut(&mut self, key: &str) -> &mut Vec<Yaml> {
        if !matches!(self.get(key), Some(Yaml::List(_))) {
            self.set(key, Yaml::List(Vec::new()));
        }
        match self.get_mut(key) {
            Some(Yaml::List(items)) => items,
            _ => unreachable!("a list was set under this key"),
        }
    }

    /// Whether the text under `key` is `text`.
    pub(super) fn has(&self, key: &str, text: &str) -> bool {
        matches!(self.get(key), Some(Yaml::Text(found)) if found == text)
    }

    pub(super) fn without(&self, key: &str) -> Map {
        Map(self.0.iter().filter(|(name, _)| name != key).cloned().collect())
    }

    pub(super) fn extend(&mut self, other: Map) {
        for (key, value) in other.0 {
            self.set(&key, value);
        }
    }

    /// The document as text.
    pub(super) fn to_text(&self) -> String {
        // What reads it is YAML 1.2: addresses and MAC addresses need no quotes there.
        let options = serde_saphyr::ser_options! { yaml_12: true, no_lang_directive: true };
        serde_saphyr::to_string_with_options(&Document(self), options)
            .expect("a tree of plain values with text for keys is YAML")
    }
}

impl Yaml {
    pub(super) fn text(text: impl Into<String>) -> Yaml {
        Yaml::Text(text.into())
    }

    /// Characters it takes on one line, about; `None` if it should not stand on one.
    fn line_chars(&self) -> Option<usize> {
        Some(match self {
            Self::Null | Self::Bool(_) => 5,
            Self::Integer(value) => value.to_string().len(),
            Self::Float(value) => value.to_string().len(),
            Self::Text(text) if text.contains('\n') => return None,
            Self::Text(text) => text.chars().count(),
            Self::List(items) => {
                items.iter().map(|item| item.line_chars().map(|chars| chars + 2)).sum::<Option<usize>>()? + 2
            }
            Self::Map(map) => map.line_chars()?,
        })
    }

    fn is_collection(&self) -> bool {
        matches!(self, Self::List(items) if !items.is_empty()) || matches!(self, Self::Map(_))
    }

    /// Whether a list is short and of plain values.
    fn fits_a_line(&self) -> bool {
        matches!(self, Self::List(items) if !items.iter().any(Self::is_collection))
            && self.line_chars().is_some_and(|chars| chars <= LINE_CHARS_MAX)
    }
}

impl Map {
    fn line_chars(&self) -> Option<usize> {
        let one = |(key, value): &(String, Yaml)| Some(key.chars().count() + value.line_chars()? + 4);
        self.0.iter().map(one).sum::<Option<usize>>().map(|chars| chars + 2)
    }

    /// Short, and with nothing inside that is a table of its own.
    fn fits_a_line(&self) -> bool {
        let is_simple = |value: &Yaml| match value {
            Yaml::List(items) => !items.iter().any(Yaml::is_collection),
            Yaml::Map(map) => !map.0.iter().any(|(_, value)| value.is_collection()),
            _ => true,
        };
        self.0.iter().all(|(_, value)| is_simple(value))
            && self.line_chars().is_some_and(|chars| chars <= LINE_CHARS_MAX)
    }
}

impl From<&Tree> for Yaml {
    fn from(tree: &Tree) -> Yaml {
        match &tree.value {
            Value::Null => Yaml::Null,
            Value::Bool(value) => Yaml::Bool(*value),
            Value::Integer(value) => Yaml::Integer(*value),
            Value::Float(value) => Yaml::Float(*value),
            Value::Text(text) => Yaml::Text(text.clone()),
            Value::Sequence(items) => Yaml::List(items.iter().map(Yaml::from).collect()),
            Value::Mapping(entries) => {
                Yaml::Map(Map(entries.iter().map(|(key, value)| (key.value.clone(), value.into())).collect()))
            }
        }
    }
}

impl FromIterator<(&'static str, Yaml)> for Map {
    fn from_iter<I: IntoIterator<Item = (&'static str, Yaml)>>(entries: I) -> Map {
        Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// On one line: whatever is inside follows the outermost [`FlowMap`] or [`FlowSeq`].
struct InLine<'a>(&'a Yaml);

impl Serialize for InLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Yaml::Null => serializer.serialize_unit(),
            Yaml::Bool(value) => serializer.serialize_bool(*value),
            Yaml::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_i128(*value),
            },
            Yaml::Float(value) => serializer.serialize_f64(*value),
            Yaml::Text(text) => serializer.serialize_str(text),
            Yaml::List(items) => serializer.collect_seq(items.iter().map(InLine)),
            Yaml::Map(map) => serializer.collect_map(map.0.iter().map(|(key, value)| (key, InLine(value)))),
        }
    }
}

/// One line for each entry, but for what fits one together.
struct Block<'a>(&'a Yaml);

impl Serialize for Block<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let yaml = self.0;
        match yaml {
            Yaml::Map(map) if map.fits_a_line() => FlowMap(InLine(yaml)).serialize(serializer),
            Yaml::Map(map) => serialize_blocks(map, serializer),
            Yaml::List(items) if yaml.fits_a_line() => {
                FlowSeq(items.iter().map(InLine).collect::<Vec<_>>()).serialize(serializer)
            }
            Yaml::List(items) => serializer.collect_seq(items.iter().map(Block)),
            scalar => InLine(scalar).serialize(serializer),
        }
    }
}

fn serialize_blocks<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.0.iter().map(|(key, value)| (key, Block(value))))
}

/// A whole document, never on one line.
struct Document<'a>(&'a Map);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_blocks(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    const TUTORIAL: &str = include_str!("../tests/resources.yaml");

    fn read(text: &str) -> Yaml {
        match tree::parse(text) {
            Ok(tree) => Yaml::from(&tree),
            Err(error) => panic!("{}: {text}", error.message),
        }
    }

    fn map(yaml: Yaml) -> Map {
        let Yaml::Map(map) = yaml else { panic!("{yaml:?} is no mapping") };
        map
    }

    #[test]
    fn says_the_same_after_it_was_written_back() {
        let document = read(TUTORIAL);
        let text = map(document.clone()).to_text();
        assert_eq!(read(&text), document, "{text}");
        assert_eq!(map(read(&text)).to_text(), text, "written twice");
    }

    #[test]
    fn keeps_short_entries_on_a_line_each_and_keys_in_their_order() {
        let text = map(read(TUTORIAL)).to_text();
        let end = &text[text.find("server_groups:").unwrap()..];
        assert_eq!(
            end,
            "\
server_groups:
- name: web
  type: Ip
  vpc: vpc1
  protocol: HTTP
  scheduler: Wrr
  health_check: {enabled: true, protocol: HTTP, path: /, interval: 2}
  servers:
  - {address: 172.16.1.20, port: 80, weight: 100}
  - {address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}
- name: tcp-web
  type: Ip
  vpc: vpc1
  protocol: TCP
  health_check: {enabled: true, protocol: TCP}
  slow_start: {duration: 40}
  connection_drain: {enabled: true, timeout: 30}
  servers:
  - {address: 172.16.1.20, port: 9001}
  - {address: 192.168.1.20, port: 9001, remote_ip: true}
listeners:
- {name: http, load_balancer: alb1, protocol: HTTP, port: 80, server_group: web}
- {name: tcp, load_balancer: alb1, protocol: TCP, port: 9000, server_group: tcp-web}
"
        );
    }

    #[test]
    fn quotes_text_that_would_read_as_something_else() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let words = [
            "",
            " ",
            "a ",
            " a",
            "true",
            "no",
            "null",
            "~",
            "12",
            "1.5",
            "0x1f",
            "1e3",
            "02:00:00:00:01:01",
            "12:30",
            "2026-01-01",
            "- a",
            "a: b",
            "a:",
            "#a",
            "a #b",
            "a, b",
            "{a}",
            "[a]",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a`",
            "'a'",
            "\"a\"",
            "a\\b",
            "?",
            "? a",
            "-",
            "---",
            "...",
            "a\tb",
            "a\r\nb",
            "\u{feff}a",
            "é二",
            "=",
            "<<",
            pem,
            "a\n\n",
            "\n",
            "a\nb",
        ];
        for word in words {
            for nested in [
                Yaml::text(word),
                Yaml::List(vec![Yaml::text(word), Yaml::text("x")]),
                Yaml::Map([("inner", Yaml::text(word)), ("after", Yaml::Integer(1))].into_iter().collect()),
                Yaml::List(vec![Yaml::Map(
                    [("k", Yaml::text(word)), ("list", Yaml::List(vec![Yaml::text(word)]))]
                        .into_iter()
                        .collect(),
                )]),
            ] {
                let document: Map = [("key", nested), ("last", Yaml::Null)].into_iter().collect();
                let text = document.to_text();
                assert_eq!(read(&text), Yaml::Map(document), "{word:?} became {text}");
            }
        }
    }

    #[test]
    fn writes_every_number_as_it_was() {
        let numbers = [0, -1, i128::from(i64::MIN), i128::from(u64::MAX)].map(Yaml::Integer);
        let document: Map =
            [("n", Yaml::List(numbers.into())), ("f", Yaml::Float(0.5))].into_iter().collect();
        assert_eq!(read(&document.to_text()), Yaml::Map(document));
    }
}
