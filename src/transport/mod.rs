//! Sockets: the doors of clients, of services and of operators.

pub mod admin;
pub mod auth;
pub mod backoff;
pub mod beat;
pub mod closed;
pub mod connection;
pub mod door;
mod ending;
mod failures;
mod handshake;
pub mod kernel;
mod link;
pub mod listener;
mod outbox;
pub mod overload;
mod pace;
pub mod phase;
pub mod process;
mod proxy;
mod renewal;
mod report;
pub mod reserve;
pub mod socket;
pub mod source;
pub mod strangers;
pub mod tls;
pub mod udp;
