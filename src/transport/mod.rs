//! Sockets: the doors of clients, of services and of operators.

pub mod admin;
pub mod auth;
pub mod backoff;
pub mod beat;
pub mod connection;
mod failures;
mod handshake;
pub mod kernel;
pub mod listener;
mod outbox;
mod pace;
pub mod phase;
mod renewal;
pub mod reserve;
pub mod socket;
pub mod source;
pub mod strangers;
mod tcp;
pub mod udp;
