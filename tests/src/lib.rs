//! What the tests of the whole are made of: packets, a loaded datapath to run them through, the real program in a lab,
//! and what a test needs of the machine. The network of namespaces is `causeway_lab`.

pub mod balancer;
pub mod difference;
pub mod forwarder;
pub mod load;
pub mod metrics;
pub mod packet;
pub mod random;
pub mod requirement;
pub mod scenario;
