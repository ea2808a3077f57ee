//! A strict reader of OpenMetrics text 1.0, so that "valid" means more than "our own encoder wrote it".

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, by name.
type Labels = BTreeMap<String, String>;

/// The samples of one exposition.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// The value of the sample with this name and exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// The sum over all samples of this name that have at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |found: &Labels| {
            labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
        };
        self.samples
            .iter()
            .filter(|((found, labels), _)| found == name && fits(labels))
            .map(|(_, value)| value)
            .sum()
    }
}

/// A metric family whose lines are being read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    has_help: bool,
    has_samples: bool,
}

/// Reads an exposition of counters and gauges.
///
/// # Errors
/// The first line that breaks a rule of the OpenMetrics 1.0 specification, with the rule: families are contiguous and
/// declared once, each with a known type; counters end in `_total`, are finite and not negative; no sample stands
/// twice; label names are names and their values escape only `\`, `"` and newline; the text ends with `# EOF`.
pub fn parse(text: &str) -> Result<Exposition, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the text does not end with `# EOF` and a newline")?;
    if body.contains('\r') {
        return Err("a carriage return".into());
    }
    let mut families = BTreeSet::new();
    let mut family = Family::default();
    let mut exposition = Exposition::default();
    for (number, line) in (1..).zip(body.lines()) {
        let error = |rule: &str| Err(format!("line {number}: {rule}: {line}"));
        if line.is_empty() {
            return error("an empty line");
        }
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
            let Some(name) = name.filter(|name| is_name(name, true)) else { return error("no metric name") };
            if family.name != name || family.has_samples {
                if !families.insert(name.to_owned()) {
                    return error("a family in two parts");
                }
                family = Family { name: name.to_owned(), ..Family::default() };
            }
            match keyword {
                Some("HELP") if !family.has_help => family.has_help = true,
                Some("TYPE") if family.kind.is_empty() && ["counter", "gauge"].contains(&rest) => {
                    rest.clone_into(&mut family.kind);
                }
                Some("UNIT") => {}
                _ => return error("neither HELP, TYPE counter or gauge, nor UNIT, or one of them twice"),
            }
            continue;
        }
        let (name, labels, value) = match sample(line) {
            Ok(sample) => sample,
            Err(rule) => return error(&rule),
        };
        family.has_samples = true;
        let wanted =
            if family.kind == "counter" { format!("{}_total", family.name) } else { family.name.clone() };
        if family.kind.is_empty() || name != wanted {
            return error("the sample does not belong to the family declared before it");
        }
        if family.kind == "counter" && !(value.is_finite() && value >= 0.0) {
            return error("a counter that is no count");
        }
        if exposition.samples.insert((name, labels), value).is_some() {
            return error("the same sample twice");
        }
    }
    Ok(exposition)
}

fn is_name(text: &str, colon: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Name, labels and value of `NAME{LABELS} VALUE`.
fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or("a sample without value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err("a malformed metric name".into());
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or("a label without value")?;
            if !is_name(label, false) {
                return Err(format!("malformed label name {label:?}"));
            }
            let (value, after) = quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("label {label} twice"));
            }
            rest = match after.strip_prefix(',') {
                Some(after) if !after.starts_with('}') => after,
                None if after.starts_with('}') => after,
                _ => return Err("labels are not separated by single commas".into()),
            };
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Ok((name.to_owned(), labels, value))
}

/// A label's value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                Some((_, 'n')) => value.push('\n'),
                _ => return Err("an unknown escape".into()),
            },
            other => value.push(other),
        }
    }
    Err("a label value without end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a Things.\n# TYPE a counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\n\
                        a_total{x=\"2\"} 4\n# HELP b Level.\n# TYPE b gauge\nb -0.5\n# EOF\n";

    #[test]
    fn reads_values_by_name_and_labels() {
        let read = parse(GOOD).expect("valid");
        assert_eq!(read.value("a_total", &[("y", "q\"\\\n"), ("x", "1")]), Some(3.0));
        assert_eq!(read.value("a_total", &[("x", "1")]), None);
        assert_eq!(read.sum("a_total", &[]), 7.0);
        assert_eq!(read.value("b", &[]), Some(-0.5));
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        for (wrong, rule) in [
            ("# TYPE a counter\na_total 1\n", "EOF"),
            ("# TYPE a counter\na 1\n# EOF\n", "does not belong"),
            ("a 1\n# EOF\n", "does not belong"),
            ("# TYPE a gauge\na 1\na 1\n# EOF\n", "twice"),
            ("# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{x=\"1\"} 1\n# EOF\n", "two parts"),
            ("# TYPE a counter\na_total -1\n# EOF\n", "no count"),
            ("# TYPE a gauge\na one\n# EOF\n", "no number"),
            ("# TYPE a gauge\na{x=\"1\",} 1\n# EOF\n", "commas"),
            ("# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n# EOF\n", "twice"),
            ("# TYPE a gauge\na{1x=\"1\"} 1\n# EOF\n", "label name"),
            ("# TYPE a gauge\n\na 1\n# EOF\n", "empty line"),
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.contains(rule), "{wrong:?}: {error}");
        }
    }
}
