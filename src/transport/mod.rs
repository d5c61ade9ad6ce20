//! Sockets: the doors of clients, of services and of operators.

pub mod admin;
pub mod backoff;
pub mod connection;
pub mod door;
mod handshake;
mod link;
pub mod listener;
mod outbox;
mod pace;
pub mod phase;
mod proxy;
pub mod reserve;
pub mod socket;
pub mod tls;
pub mod udp;
