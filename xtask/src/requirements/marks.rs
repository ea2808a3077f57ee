//! Marks in source text: `// Holds SG-81, SG-134..SG-139` above a test.
//!
//! A mark belongs to the next function. Between the two, and between the mark and the test's attribute, only attributes
//! and other comments may stand.

use super::Problem;
use super::number::Span;

/// A test that says what it holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark {
    pub spans: Vec<Span>,
    /// Where the mark is written, from 1.
    pub line: usize,
    /// The test's function.
    pub test: String,
}

/// Finds the marks of one source file. A comment that looks like a mark and is none, a mark above something else than
/// a test, and one above a test that is ignored are problems.
pub fn scan(text: &str) -> (Vec<Mark>, Vec<Problem>) {
    let mut scanner = Scanner::default();
    for (index, line) in text.lines().enumerate() {
        scanner.read_line(index + 1, line.trim());
    }
    scanner.drop_pending();
    (scanner.marks, scanner.problems)
}

#[derive(Default)]
struct Scanner {
    /// Marks whose function has not come yet, with their lines.
    pending: Vec<(usize, Vec<Span>)>,
    /// What the attributes above that function say.
    is_test: bool,
    is_ignored: bool,
    /// The start of an attribute that goes on for some lines.
    attribute: String,
    marks: Vec<Mark>,
    problems: Vec<Problem>,
}

impl Scanner {
    /// `line` without white space around it.
    fn read_line(&mut self, at: usize, line: &str) {
        if !self.attribute.is_empty() || line.starts_with("#[") {
            self.read_attribute(at, line);
        } else if line.starts_with("//") {
            match read_mark(line) {
                Some(Ok(spans)) => self.pending.push((at, spans)),
                Some(Err(what)) => self.problems.push(Problem { line: at, what }),
                None => {}
            }
        } else if let Some(name) = function(line) {
            self.end_at_function(name);
        } else {
            self.drop_pending();
        }
    }

    fn read_attribute(&mut self, at: usize, line: &str) {
        self.attribute += line;
        let Some(end) = attribute_end(&self.attribute) else { return };
        let whole = std::mem::take(&mut self.attribute);
        let (attribute, rest) = whole.split_at(end);
        let path = attribute["#[".len()..].split(['(', ']', '=']).next().unwrap_or_default().trim();
        self.is_test |= path.rsplit("::").next() == Some("test");
        self.is_ignored |= path == "ignore";
        if !rest.trim().is_empty() {
            self.read_line(at, rest.trim());
        }
    }

    fn end_at_function(&mut self, name: &str) {
        if !self.is_test {
            return self.drop_pending();
        }
        for (line, spans) in std::mem::take(&mut self.pending) {
            if self.is_ignored {
                let what = format!("{name} is ignored, and an ignored test holds nothing");
                self.problems.push(Problem { line, what });
            } else {
                self.marks.push(Mark { spans, line, test: name.to_owned() });
            }
        }
        self.drop_pending();
    }

    /// What comes is no test: marks that wait for one stand in the wrong place.
    fn drop_pending(&mut self) {
        let what = "stands above something that is not a test; put it directly above the test's attribute";
        let lost = std::mem::take(&mut self.pending).into_iter();
        self.problems.extend(lost.map(|(line, _)| Problem { line, what: what.to_owned() }));
        (self.is_test, self.is_ignored) = (false, false);
    }
}

/// What a comment says it holds. `None`: it is no mark, nor meant as one.
fn read_mark(comment: &str) -> Option<Result<Vec<Span>, String>> {
    let said = comment.trim_start_matches(['/', '!']).trim_start();
    // A sentence that happens to begin with this word names no requirement.
    let begins = said.get(.."holds".len()).is_some_and(|word| word.eq_ignore_ascii_case("holds"));
    if !begins || !names_a_number(said) {
        return None;
    }
    let Some(list) = comment.strip_prefix("// Holds ") else {
        return Some(Err(format!("{comment:?} looks like a mark; write it like `// Holds SG-81, SG-82`")));
    };
    Some(list.split(',').map(|part| part.trim().parse()).collect())
}

fn names_a_number(text: &str) -> bool {
    text.match_indices('-').any(|(at, _)| {
        text[..at].ends_with(|c: char| c.is_ascii_alphabetic())
            && text[at + 1..].starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Where the attribute that `text` begins with ends: after the bracket that closes it, if it is there.
fn attribute_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut in_string = false;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            '[' if !in_string => depth += 1,
            ']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The name, if `line` begins a function.
fn function(line: &str) -> Option<&str> {
    let mut rest = line;
    while let Some((word, after)) = rest.split_once(' ') {
        match word {
            "fn" => return after.split(['(', '<']).next(),
            "pub" | "async" | "const" | "unsafe" => rest = after,
            _ if word.starts_with("pub(") => rest = after,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (line of the mark, its numbers, its test).
    fn marks(text: &str) -> Vec<(usize, String, String)> {
        let (marks, problems) = scan(text);
        assert_eq!(problems, []);
        let show = |span: &Span| match span.first == span.last {
            true => span.first.to_string(),
            false => format!("{}..{}", span.first, span.last),
        };
        marks
            .iter()
            .map(|mark| {
                let spans: Vec<_> = mark.spans.iter().map(show).collect();
                (mark.line, spans.join(" "), mark.test.clone())
            })
            .collect()
    }

    fn found(line: usize, spans: &str, test: &str) -> (usize, String, String) {
        (line, spans.to_owned(), test.to_owned())
    }

    #[track_caller]
    fn wrong(text: &str, line: usize, part: &str) {
        let (marks, problems) = scan(text);
        assert!(
            problems.len() == 1 && problems[0].line == line && problems[0].what.contains(part),
            "{problems:?}"
        );
        assert_eq!(marks, []);
    }

    #[test]
    fn a_mark_belongs_to_the_test_below_it() {
        let text = "use x;\n\n// Holds SG-81, SG-82\n#[test]\nfn shares() {\n}\n\n#[test]\nfn other() {\n}\n";
        assert_eq!(marks(text), [found(3, "SG-81 SG-82", "shares")]);
    }

    #[test]
    fn runs_of_numbers_and_several_marks_add_up() {
        let text = "    // Holds SG-134..SG-139,XR-4\n    // Holds SG-1\n    #[test]\n    fn a() {\n";
        assert_eq!(marks(text), [found(1, "SG-134..SG-139 XR-4", "a"), found(2, "SG-1", "a")]);
    }

    #[test]
    fn tests_of_every_kind_can_be_marked() {
        for attribute in [
            "#[tokio::test]",
            "#[tokio::test(start_paused = true)]",
            "#[test]\n#[should_panic(expected = \"]\")]",
            "#[cfg(target_os = \"linux\")]\n#[test]",
            "/// Why.\n#[test]\n// Because.",
            "#[tokio::test(\n    start_paused = true,\n)]",
            "#[expect(\n    clippy::x,\n    reason = \"a \\\"]\\\" b\"\n)]\n#[test]",
        ] {
            for function in ["fn a() {}", "async fn a() {", "pub(crate) async fn a<T>(", "pub fn a() {"] {
                let text = format!("// Holds SG-1\n{attribute}\n{function}\n");
                assert_eq!(marks(&text), [found(1, "SG-1", "a")], "{text}");
            }
        }
    }

    #[test]
    fn the_mark_may_stand_between_attribute_and_function() {
        assert_eq!(marks("#[test]\n// Holds SG-1\nfn a() {\n"), [found(2, "SG-1", "a")]);
        assert_eq!(marks("// Holds SG-1\n#[test] fn a() {}\n"), [found(1, "SG-1", "a")]);
    }

    #[test]
    fn an_attribute_counts_for_its_own_function_only() {
        wrong("#[test]\nfn a() {}\n// Holds SG-1\nfn b() {}\n", 3, "not a test");
        wrong("#[test]\nstruct A;\n// Holds SG-1\nfn b() {}\n", 3, "not a test");
    }

    #[test]
    fn a_mark_above_anything_else_is_a_problem() {
        wrong("// Holds SG-1\nfn a() {}\n", 1, "not a test");
        wrong("// Holds SG-1\nmod tests {\n", 1, "not a test");
        wrong("// Holds SG-1\n#[cfg(test)]\nmod tests {\n", 1, "not a test");
        wrong("// Holds SG-1\n\n#[test]\nfn a() {}\n", 1, "directly above");
        wrong("#[test]\nfn a() {\n    // Holds SG-1\n    assert!(b);\n}\n", 3, "not a test");
        wrong("// Holds SG-1\n#[derive(Debug)]\nstruct A;\n", 1, "not a test");
        wrong("fn a() {}\n// Holds SG-1\n", 2, "not a test");
    }

    #[test]
    fn an_ignored_test_holds_nothing() {
        wrong("// Holds SG-1\n#[test]\n#[ignore]\nfn a() {}\n", 1, "a is ignored");
        wrong("// Holds SG-1\n#[ignore = \"slow\"]\n#[test]\nfn a() {}\n", 1, "a is ignored");
    }

    #[test]
    fn what_looks_like_a_mark_must_be_one() {
        for mark in [
            "//Holds SG-1",
            "/// Holds SG-1",
            "// holds SG-1",
            "// Holds: SG-1",
            "// Holds  SG-1, SG-2,",
            "// Holds SG-1, in part",
            "// Holds SG-1 SG-2",
            "// Holds SG-1.",
            "// Holds SG-2..SG-1",
            "// Holds sg-1",
        ] {
            let text = format!("{mark}\n#[test]\nfn a() {{}}\n");
            let (marks, problems) = scan(&text);
            assert!(marks.is_empty() && problems.len() == 1 && problems[0].line == 1, "{mark}: {problems:?}");
        }
    }

    #[test]
    fn a_sentence_is_no_mark() {
        let text = "// Holds the lock until the file is closed.\n// Household SG-1\n// What SG-1 holds.\nfn a() {}\nlet x = \"// Holds SG-1\";\n";
        assert_eq!(marks(text), []);
    }
}
