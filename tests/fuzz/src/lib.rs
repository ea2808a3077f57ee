//! Fuzz targets: functions that take any bytes and panic if a promise of the product does not hold for them.
//!
//! `cargo xtask fuzz` searches for inputs with libFuzzer; `cargo test -p causeway-fuzz` runs the kept ones, which lie in
//! `corpus/TARGET`, one input a file. A bug that is found leaves its input there.
//!
//! Every target compares with something that was written apart from what it checks: a second reading of the same bytes,
//! naive and slow, or another crate.

mod body;
mod cookie;
mod grammar;
mod http2_head;
mod pieces;
mod reading;
mod request;
mod response;
mod rules;

/// One thing that is fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Its name, and its corpus's folder.
    pub name: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// Panics if the promise does not hold for these bytes.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "request",
        promise: "requests on one connection have one reading, however they arrive, also after they were rewritten",
        check: request::check,
    },
    Target {
        name: "response",
        promise: "responses on one connection have one reading, however they arrive, also after they were rewritten",
        check: response::check,
    },
    Target {
        name: "body",
        promise: "bodies end where a naive reader says, however they arrive",
        check: body::check,
    },
    Target {
        name: "grammar",
        promise: "targets, hosts and header lines are accepted exactly within their grammar",
        check: grammar::check,
    },
    Target {
        name: "cookie",
        promise: "only what a key of ours sealed opens, and places named in cookies are within them",
        check: cookie::check,
    },
    Target {
        name: "http2-head",
        promise: "an HTTP/2 head that becomes an HTTP/1.1 head is read there with the same meaning",
        check: http2_head::check,
    },
    Target {
        name: "rules",
        promise: "a set of rules finds the first whose conditions all hold",
        check: rules::check,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
