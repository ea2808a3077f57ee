//! A terminal with a block at the bottom that is drawn over and over, text that stays above it, and keys.
//!
//! Each change is one write, and lines are overwritten, not cleared first: nothing flickers. Signals work as ever:
//! Ctrl-C is not a key here.

use super::picture::COLUMNS;
use crate::screen::{columns, cut};
use std::io::{self, IsTerminal, Write};
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

/// How the terminal was before; `Some` while it is changed.
static BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Words that stand out, and how.
const COLOURS: [(&str, &str); 8] = [
    (" Normal", "\x1b[32m"),
    (" Unhealthy", "\x1b[31m"),
    (" Initial", "\x1b[33m"),
    ("ok ", "\x1b[1;32m"),
    ("FAIL ", "\x1b[1;31m"),
    ("── ", "\x1b[2m"),
    ("step ", "\x1b[1m"),
    (" > ", "\x1b[1;36m"),
];
const PLAIN: &str = "\x1b[0m";

/// The terminal on standard input and output, changed for the show; dropping it puts it right.
pub struct Terminal {
    /// Lines of the block that stands on the screen.
    block: Vec<String>,
}

impl Terminal {
    /// Takes the terminal, if there is one that can do what is needed.
    pub fn open() -> Option<Terminal> {
        let can_draw = io::stdout().is_terminal()
            && io::stdin().is_terminal()
            && std::env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb");
        if !can_draw {
            return None;
        }
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the call fills the structure, or fails and it is not read.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) != 0 {
                return None;
            }
            settings.assume_init()
        };
        let mut raw = before;
        // Keys at once and unseen; a read returns what there is, also nothing.
        raw.c_lflag &= !(libc::ICANON | libc::ECHO);
        raw.c_cc[libc::VMIN] = 0;
        raw.c_cc[libc::VTIME] = 0;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        causeway_lab::on_interrupt(interrupt);
        // SAFETY: a system call on an initialised structure.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw) };
        show(HIDE_CURSOR);
        Some(Terminal { block: Vec::new() })
    }

    /// A key that was pressed and not yet taken.
    pub fn key(&self) -> Option<u8> {
        let mut byte = 0_u8;
        // SAFETY: one byte, which lives across the call.
        let read = unsafe { libc::read(libc::STDIN_FILENO, (&raw mut byte).cast(), 1) };
        (read == 1).then_some(byte)
    }

    /// Puts `block` in the place of the one before.
    pub fn draw(&mut self, block: Vec<String>) {
        let mut out = self.up();
        self.block = block;
        self.add_block(&mut out);
        show(&out);
    }

    /// Prints lines that stay, above the block.
    pub fn print(&mut self, lines: &[String]) {
        let mut out = self.up();
        for line in lines {
            out.push_str(&format!("{}{CLEAR_TO_END_OF_LINE}\n", paint(line)));
        }
        self.add_block(&mut out);
        show(&out);
    }

    /// To the block's first line.
    fn up(&self) -> String {
        match self.block.len() {
            0 => "\r".to_owned(),
            lines => format!("\r\x1b[{lines}A"),
        }
    }

    fn add_block(&self, out: &mut String) {
        // A line that the terminal breaks would make the block higher than we think.
        let columns = columns().map_or(COLUMNS, |columns| columns.min(COLUMNS));
        for line in &self.block {
            out.push_str(&format!("{}{CLEAR_TO_END_OF_LINE}\n", paint(&cut(line, columns))));
        }
        out.push_str(CLEAR_BELOW);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal right. Harmless if it is.
fn restore() {
    // Held until the end: what is shown meanwhile would come after.
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(settings) = before.take() {
        // SAFETY: a system call on an initialised structure.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &settings) };
        write(SHOW_CURSOR);
    }
}

/// Ctrl-C has cut off whatever was being drawn.
fn interrupt() {
    restore();
    write(&format!("\r\n{CLEAR_BELOW}"));
}

/// Writes, unless the terminal is no longer ours.
fn show(text: &str) {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_some() {
        write(text);
    }
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    // A terminal that is gone sends SIGHUP; nothing else is to be done about it.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Adds colour: a line's first words, and health wherever it stands.
fn paint(line: &str) -> String {
    let mut painted = line.to_owned();
    for (word, colour) in COLOURS {
        let is_mark = !word.starts_with(' ') || word == " > ";
        if is_mark && line.starts_with(word) {
            return format!("{colour}{word}{PLAIN}{}", &line[word.len()..]);
        }
        if !is_mark {
            painted = painted.replace(word, &format!("{colour}{word}{PLAIN}"));
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_add_nothing_that_is_seen() {
        for line in [" web ECS01 Normal 3", " > waiting", "ok start: 3 Normal", "── servers ──", "nothing"]
        {
            let mut bare = paint(line);
            for (_, colour) in COLOURS {
                bare = bare.replace(colour, "");
            }
            assert_eq!(bare.replace(PLAIN, ""), line);
        }
        assert!(paint(" web Unhealthy").contains("\x1b[31m"));
        assert_eq!(paint("nothing"), "nothing");
    }
}
