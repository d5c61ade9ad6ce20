//! Bytes and values: frames, datagrams, the seal, the reasons, the packets of MQTT. No I/O, no
//! clock.
//!
//! A decoder borrows from the bytes it is given and allocates nothing, so no declared length can
//! cost memory. It accepts exactly what protocol version 1 defines: an unknown type, op, scope or
//! reserved bit is an error, and so are trailing bytes. What a value means for a session or a key
//! (bounds of the configuration, permissions) is not decided here.

pub(crate) mod append;
mod reader;
#[macro_use]
mod closed_list;

pub mod name;
pub mod proxy;
pub mod reason;

pub mod frame;

pub mod encoding;
pub mod websocket;

pub mod datagram;
pub mod reply;
pub mod seal;

pub mod codec;

pub mod mqtt;

#[cfg(test)]
mod samples;
