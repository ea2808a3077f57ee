//! The repository's own rules, checked line by line: which folder may name what, what files are called, what may not
//! be left behind.

use crate::command::root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    /// From 1; 0 for the file as a whole.
    line: usize,
    rule: String,
}

/// Checks every file of the repository; fails if a rule is broken.
pub fn run() -> Result<()> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files)?;
    let mut breaches = 0;
    let mut report = |path: &str, found: Vec<Breach>| {
        breaches += found.len();
        found.iter().for_each(|breach| eprintln!("{path}:{}: {}", breach.line, breach.rule));
    };
    for (path, text) in &files {
        report(path, check_file(path, text));
    }
    let reasons = files.iter().find(|(path, _)| path == "forwarder-common/src/verdict.rs");
    if let Some((_, verdict)) = reasons {
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
            report(path, drop_reasons_documented(verdict, text));
        }
    }
    if breaches > 0 {
        bail!("{breaches} breaches of the repository's rules (xtask/src/tidy.rs)");
    }
    eprintln!("tidy: {} files follow the repository's rules", files.len());
    Ok(())
}

/// Text files below `folder`, by path from `root`. Leaves out what is built, hidden by git, or not ours to write.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "lab-logs"].contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
        } else if [".rs", ".md", ".toml", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)) {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            files.push((relative.to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

fn check_file(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = leftovers(text);
    if path.ends_with(".rs") {
        breaches.extend(file_name(path));
        breaches.extend(file_length(text));
        breaches.extend(purity(path, text));
        breaches.extend(aya_only_in_datapath(path, text));
        breaches.extend(exceptions_have_reasons(text));
    }
    breaches
}

/// Modules that decide and never act: no clock, randomness, socket, runtime or kernel.
const PURE: [&str; 12] = [
    "controller/src/model/",
    "controller/src/certificate/",
    "controller/src/config/",
    "controller/src/balance/",
    "controller/src/rules/",
    "controller/src/routing/",
    "controller/src/health/",
    "controller/src/plan/",
    "controller/src/snapshot.rs",
    "controller/src/sticky/",
    "controller/src/tls_policy.rs",
    "forwarder-common/src/",
];

/// What a pure module may not name, as it stands in code.
const EFFECTS: [&str; 10] = [
    "tokio",
    "aya",
    "TcpStream",
    "TcpListener",
    "TcpSocket",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
    "thread_rng",
];

fn purity(path: &str, text: &str) -> Vec<Breach> {
    if !PURE.iter().any(|pure| path.starts_with(pure)) {
        return Vec::new();
    }
    each_line(text, |line| {
        let word = EFFECTS.iter().find(|word| names(code(line), word))?;
        Some(format!("pure module names `{word}`; take what it yields as an argument"))
    })
}

fn aya_only_in_datapath(path: &str, text: &str) -> Vec<Breach> {
    let allowed = ["controller/src/datapath/", "controller/src/datapath.rs"];
    if !path.starts_with("controller/src/") || allowed.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    each_line(text, |line| {
        let named = ["aya", "aya_obj", "aya_log"].iter().find(|word| names_crate(code(line), word))?;
        Some(format!("names `{named}`; only controller/src/datapath does"))
    })
}

fn file_name(path: &str) -> Option<Breach> {
    let part = path.split('/').map(|part| part.trim_end_matches(".rs"));
    let nothing = ["utils", "helpers", "common", "manager", "types", "misc"];
    let bad = part.into_iter().find(|part| nothing.contains(part))?;
    Some(Breach { line: 0, rule: format!("`{bad}` names nothing; call the file after what is in it") })
}

/// Longer files have more than one subject.
const LINES_MAX: usize = 700;

fn file_length(text: &str) -> Option<Breach> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| Breach {
        line: LINES_MAX + 1,
        rule: format!("{lines} lines, at most {LINES_MAX}; split it"),
    })
}

fn exceptions_have_reasons(text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if !["#[allow(", "#![allow("].iter().any(|opening| start.starts_with(opening)) {
            continue;
        }
        // The attribute may go on for some lines.
        let rest = text.lines().skip(number).collect::<Vec<_>>().join("\n");
        let attribute = rest.split(']').next().unwrap_or_default();
        if !attribute.contains("reason =") {
            let rule = "exception without a reason; write `#[expect(LINT, reason = \"...\")]`".to_owned();
            breaches.push(Breach { line: number + 1, rule });
        }
    }
    breaches
}

fn leftovers(text: &str) -> Vec<Breach> {
    // Put together here, so that this file does not break its own rule.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macro_call = concat!("dbg", "!(");
    each_line(text, |line| {
        let word = words.iter().copied().find(|word| names(line, word));
        let found = word.or_else(|| line.contains(macro_call).then_some(macro_call))?;
        Some(format!("leftover `{found}`; do it, or write down what is not covered"))
    })
}

/// Every drop reason stands in `document`, if `document` has the table of them.
fn drop_reasons_documented(verdict: &str, document: &str) -> Vec<Breach> {
    let names: Vec<_> = drop_reasons(verdict);
    let in_table = |name: &&str| document.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
    if !names.iter().any(in_table) {
        return Vec::new();
    }
    let missing = names.iter().filter(|name| !in_table(name));
    missing
        .map(|name| Breach { line: 0, rule: format!("drop reason `{name}` is missing from the table") })
        .collect()
}

/// The names in `drop_reasons! { Variant = 0, "name"; ... }`.
fn drop_reasons(verdict: &str) -> Vec<&str> {
    let Some((_, list)) = verdict.split_once("\ndrop_reasons! {") else { return Vec::new() };
    let list = list.split("\n}").next().unwrap_or_default();
    let entries = list.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    entries.filter_map(|line| line.split('"').nth(1)).collect()
}

fn each_line(text: &str, rule: impl Fn(&str) -> Option<String>) -> Vec<Breach> {
    let numbered = text.lines().enumerate();
    numbered.filter_map(|(i, line)| Some(Breach { line: i + 1, rule: rule(line)? })).collect()
}

/// The line without its comment. A `//` inside a string hides what follows it from the rules: harmless.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `word` stands in `line` by itself, not as part of a longer word.
fn names(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

/// Whether `line` uses the crate `word`: in a path or an import.
fn names_crate(line: &str, word: &str) -> bool {
    let path = line
        .match_indices(&format!("{word}::"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
    path || line.trim() == format!("use {word};")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, String)> {
        check_file(path, text).into_iter().map(|breach| (breach.line, breach.rule)).collect()
    }

    #[track_caller]
    fn broken(path: &str, text: &str, line: usize, part: &str) {
        let found = rules(path, text);
        assert!(found.len() == 1 && found[0].0 == line && found[0].1.contains(part), "{found:?}");
    }

    #[track_caller]
    fn kept(path: &str, text: &str) {
        assert_eq!(rules(path, text), []);
    }

    #[test]
    fn pure_modules_name_no_effect() {
        broken(
            "controller/src/health/machine.rs",
            "use std::time::Instant;\nlet now = Instant::now();\n",
            2,
            "Instant::now",
        );
        broken("controller/src/model/vpc.rs", "use std::net::{Ipv4Addr, UdpSocket};", 1, "UdpSocket");
        broken("controller/src/snapshot.rs", "use tokio::sync::watch;", 1, "tokio");
        kept("controller/src/health/machine.rs", "/// Never calls Instant::now.\nfn f(now: Instant) {}");
        kept("controller/src/probe/tcp.rs", "let now = Instant::now();");
        kept("controller/src/plan/diff.rs", "let playa = 1; // aya");
    }

    #[test]
    fn only_the_datapath_names_aya() {
        broken(
            "controller/src/run.rs",
            "let x = aya::maps::Array::new();",
            1,
            "only controller/src/datapath",
        );
        broken("controller/src/main.rs", "use aya_log::EbpfLogger;", 1, "aya_log");
        kept("controller/src/datapath/load.rs", "use aya::Ebpf;");
        kept("controller/src/run.rs", "use crate::maya::Thing;");
        kept("tests/src/forwarder.rs", "use aya::Ebpf;");
    }

    #[test]
    fn file_names_say_what_is_inside() {
        broken("controller/src/utils.rs", "", 0, "`utils`");
        broken("xtask/src/helpers/net.rs", "", 0, "`helpers`");
        kept("forwarder-common/src/lib.rs", "");
    }

    #[test]
    fn files_stay_short() {
        kept("xtask/src/a.rs", &"a\n".repeat(LINES_MAX));
        broken("xtask/src/a.rs", &"a\n".repeat(LINES_MAX + 1), LINES_MAX + 1, "701 lines");
    }

    #[test]
    fn exceptions_carry_reasons() {
        let bare = concat!("#[al", "low(dead_code)]");
        broken("xtask/src/a.rs", &format!("\n    {bare}\nfn f() {{}}"), 2, "without a reason");
        let long = concat!("#![al", "low(\n  dead_code,\n  reason = \"x\",\n)]");
        kept("xtask/src/a.rs", long);
    }

    #[test]
    fn nothing_is_left_behind() {
        let note = concat!("// TO", "DO: later");
        broken("xtask/src/a.rs", note, 1, "leftover");
        broken("README.md", &format!("text\n{note}"), 2, "leftover");
        broken("xtask/src/a.rs", concat!("dbg", "!(x)"), 1, "leftover");
        kept("xtask/src/a.rs", concat!("let TO", "DOS = 1;"));
    }

    #[test]
    fn the_table_of_drop_reasons_is_whole() {
        let verdict = "x\ndrop_reasons! {\n    /// \"a\"\n    Truncated = 0, \"truncated\";\n    Other = 1, \"other\";\n}\n";
        assert_eq!(drop_reasons(verdict), ["truncated", "other"]);
        assert_eq!(drop_reasons_documented(verdict, "no table here"), []);
        let table = "| reason | meaning |\n| `truncated` | ends early |\n";
        let found = drop_reasons_documented(verdict, table);
        assert!(found.len() == 1 && found[0].rule.contains("`other`"), "{found:?}");
        assert_eq!(drop_reasons_documented(verdict, &format!("{table}| `other` | x |")), []);
    }
}
