//! What the gateway does, seen from outside.

mod support;

mod configuration;

mod malformed;

mod churn;
mod closes;
mod takeover;

mod datagrams;
mod repeats;
mod requests;
mod services;

mod histories;
mod order;

mod abandoned;
mod descriptors;
mod flood;
mod slow;

mod admin;
mod drain;
mod metrics;
mod privileges;
mod reload;

mod readme;
mod tidy;
