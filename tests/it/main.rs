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

mod proxy;
mod tls;

mod drain;
mod metrics;

mod readme;
mod tidy;
