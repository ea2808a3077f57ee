//! The L7 engine.
pub mod http1;
