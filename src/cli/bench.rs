//! `pushgate bench`: a load generator, and the loop that it measures the gateway beside.
//!
//! Server and load are separate processes on separate cores, so that the server's CPU time is its own.
//! The parts are public for the benchmarks of this crate and are no interface for others.

pub mod child;
pub mod crowd;
pub mod floor;
pub mod load;
pub mod machine;
pub mod parser;
pub mod pusher;
pub mod rounds;
