//! Sockets.

pub mod phase;

pub mod backoff;
pub mod reserve;

pub mod admin;
