//! What the gateway does, seen from outside.

mod support;

mod readme;
