//! The process.

pub mod logging;
pub mod settings;
