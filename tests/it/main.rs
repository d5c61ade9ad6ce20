//! What the gateway does, seen from outside.

mod support;

mod bench;
mod configuration;

mod malformed;

mod churn;
mod closes;
mod doors;
mod takeover;
mod tokens;

mod datagrams;
mod keys;
mod repeats;
mod requests;
mod services;

mod mqtt;

mod histories;
mod history;
mod kept;
mod listen;
mod order;
mod store;

mod abandoned;
mod descriptors;
mod durable;
mod flood;
mod slow;
mod storm;
mod strangers;

mod admin;
mod alerts;
mod dashboard;
mod http;
mod inspect;
mod leaks;
mod overload;
mod profiles;
mod proxy;
mod tls;
mod websocket;

mod docker;
mod drain;
mod health;
mod log;
mod measurements;
mod metrics;
mod privileges;
mod reload;
mod systemd;

mod readme;
mod seeds;
mod tidy;
mod version;
