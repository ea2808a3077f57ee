//! How a server can be made to misbehave while it runs: what is written to its `behaviour` file, which it reads at every
//! request.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a web server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    Normal,
    /// Reads it and does not answer; requests it already holds are given up, unanswered, when this changes.
    Hang,
    /// Reads it and closes the connection.
    CloseEarly,
    /// Promises 1,000 bytes, sends 500 and closes the connection.
    CutShort,
    /// Sends something that is not HTTP and closes the connection.
    Garbage,
    /// Answers with this status.
    Status(u16),
    /// Answers after this time.
    Slow(Duration),
    /// Answers `pass` requests, then `fail` ones with 503, and so on, counted from when this is set.
    Flap {
        /// How many are answered.
        pass: u32,
        /// How many get 503 after that.
        fail: u32,
    },
}

impl Behaviour {
    /// Kind and arguments, as `behaviour.lua` reads them.
    fn words(&self) -> String {
        match self {
            Behaviour::Normal => "normal".to_owned(),
            Behaviour::Hang => "hang".to_owned(),
            Behaviour::CloseEarly => "close".to_owned(),
            Behaviour::CutShort => "cut".to_owned(),
            Behaviour::Garbage => "garbage".to_owned(),
            Behaviour::Status(status) => format!("status {status}"),
            Behaviour::Slow(delay) => format!("slow {}", delay.as_secs_f64()),
            Behaviour::Flap { pass, fail } => format!("flap {pass} {fail}"),
        }
    }
}

/// Stands for every path that has no behaviour of its own.
pub(crate) const ANY_PATH: &str = "*";

/// The behaviours of one web server, by path.
#[derive(Debug, Default)]
pub(crate) struct Behaviours {
    by_path: BTreeMap<String, Behaviour>,
    /// Tells a behaviour from the same one set again, so that it is counted from the start.
    generation: u64,
}

impl Behaviours {
    /// Sets what is done at `path`, and writes it to `file` for the server to read.
    pub(crate) fn set(&mut self, file: &Path, path: &str, behaviour: Behaviour) -> Result<()> {
        if path != ANY_PATH && (!path.starts_with('/') || path.contains([' ', '?', '\n'])) {
            bail!("behaviour at {path:?}: a path begins with '/' and has neither spaces nor a query");
        }
        self.by_path.insert(path.to_owned(), behaviour);
        self.generation += 1;
        replace(file, &self.to_text())
    }

    /// `GENERATION PATH KIND [ARGUMENT [ARGUMENT]]` per line.
    fn to_text(&self) -> String {
        let line = |(path, behaviour): (&String, &Behaviour)| {
            format!("{} {path} {}\n", self.generation, behaviour.words())
        };
        self.by_path.iter().map(line).collect()
    }
}

/// Puts `text` in the place of `file` so that a reader sees all of the old or all of the new.
pub(crate) fn replace(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    let place = || format!("write {}", file.display());
    fs::write(&new, text).with_context(place)?;
    fs::rename(&new, file).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_line_of_the_latest_generation() {
        let folder = std::env::temp_dir().join(format!("behaviour-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("make a folder");
        let file = folder.join("behaviour");
        let mut behaviours = Behaviours::default();
        let mut set = |path: &str, behaviour| behaviours.set(&file, path, behaviour);
        set("/health", Behaviour::Hang).expect("set");
        set(ANY_PATH, Behaviour::Slow(Duration::from_millis(150))).expect("set");
        set("/health", Behaviour::Flap { pass: 2, fail: 1 }).expect("set again");
        assert_eq!(fs::read_to_string(&file).expect("written"), "3 * slow 0.15\n3 /health flap 2 1\n");
        for path in ["health", "/a b", "/a?b=c"] {
            assert!(set(path, Behaviour::Hang).is_err(), "{path}");
        }
        fs::remove_dir_all(&folder).expect("ours");
    }
}
