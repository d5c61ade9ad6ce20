//! The process.

pub mod settings;
