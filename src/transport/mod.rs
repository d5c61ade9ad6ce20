//! Sockets: the doors of clients, of services and of operators.

pub mod admin;
pub mod auth;
pub mod backoff;
pub mod connection;
mod handshake;
pub mod listener;
mod outbox;
mod pace;
pub mod phase;
mod renewal;
pub mod reserve;
pub mod socket;
mod tcp;
pub mod udp;
