//! Causeway's controller: configuration to model, model and health to plan, plan to BPF maps, and the L7 engine.
//!
//! Modules in dependency order; the upper half is pure (no clock, no socket, no aya, no tokio):
//!
//! - [`model`]: what is configured, in types that cannot hold an invalid configuration
//! - [`tls_policy`]: TLS policies → what of them is served
//! - [`certificate`]: PEM files → certificates that can be served; trust in those of servers
//! - [`config`]: files as written → model, every error at once
//! - [`balance`]: schedulers, Maglev tables, slow start
//! - [`rules`]: which forwarding rule a request meets, and what its actions come to
//! - [`routing`]: destination → route → next hops
//! - [`health`]: probe results and time → state of a server
//! - [`plan`]: model + health + time → map contents → ordered map operations
//! - [`snapshot`]: what the L7 engine is told, as versioned bytes
//! - [`sticky`]: cookies that keep a client with its server
//!
//! and the effects: `probe` · `store` · `datapath` · `host` · `proxy` · `api` · `run` · `cli`.

pub mod api;
pub mod balance;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod datapath;
pub mod health;
pub mod host;
pub mod model;
pub mod plan;
pub mod probe;
pub mod proxy;
pub mod routing;
pub mod rules;
pub mod run;
pub mod snapshot;
pub mod sticky;
pub mod store;
pub mod tls_policy;
