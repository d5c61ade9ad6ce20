//! The admin door: metrics, health, profiles.
