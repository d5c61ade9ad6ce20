//! What the gateway does, seen from outside.

mod support;

mod abandoned;
mod churn;
mod closes;
mod flood;
mod malformed;
mod readme;
mod slow;
mod takeover;
