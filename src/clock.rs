//! The wall clock.
