//! The only spawn.
