//! Forwarding rules: which one a request or a response meets, and what its actions come to (LR-60 to LR-113).
//!
//! - [`matcher`]: the first rule of a list that matches; `pattern`, `index`, `condition` are its parts
//! - [`location`]: redirects and rewrites · [`cors`]: what other sites' scripts may do · [`limit`]: how much is too much
//! - [`choice`]: which of several groups · [`trace`]: loops
//!
//! Absent here: what forwards, clocks (times are arguments), randomness and everything about servers.

pub mod choice;
mod condition;
pub mod cors;
mod index;
pub mod limit;
pub mod location;
pub mod matcher;
mod pattern;
pub mod trace;

pub use matcher::{Captures, Fields, Match, RequestView, RuleError, RuleSet};
pub use pattern::{Subject, check_pattern};
