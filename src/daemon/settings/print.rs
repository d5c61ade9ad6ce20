//! The settings as a file that means the same, but for the secrets.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::value::show_moment;
use super::{Auth, AuthMode, Key, LogFormat, Settings, Unsigned};
use crate::hub::keeper::Durability;
use crate::transport::auth;

/// What stands for a secret.
const HIDDEN: &str = "\"***\"";

impl Settings {
    /// The effective configuration, every key with its value, in TOML. A secret is shown as
    /// `"***"`, whether it stood in the file or in one of its own.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes all");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        for listener in &self.listeners {
            table(out, "[[listeners]]")?;
            line(out, "name", quoted(&listener.name))?;
            line(out, "address", quoted(listener.address))?;
            line(out, "protocol", quoted(listener.protocol))?;
            if !listener.origins.is_empty() {
                line(out, "origins", list(&listener.origins))?;
            }
            if let Some(tls) = &listener.tls {
                let (cert, key) = tls.files();
                let (cert, key) = (quoted(cert.display()), quoted(key.display()));
                line(out, "tls", format!("{{ cert = {cert}, key = {key} }}"))?;
            }
            if let Some(trusted) = &listener.trusted {
                line(out, "proxy_protocol", true)?;
                line(out, "trusted", list(trusted))?;
            }
        }
        self.write_clients(out)?;
        let udp = &self.udp;
        table(out, "[udp]")?;
        line(out, "listen", quoted(udp.listen))?;
        let unsigned = match udp.unsigned {
            Unsigned::Loopback => "loopback",
            Unsigned::Never => "never",
        };
        line(out, "unsigned", quoted(unsigned))?;
        line(out, "window", time(udp.window))?;
        line(out, "future", time(udp.future))?;
        line(out, "max_remembered", udp.max_remembered)?;
        line(out, "receive_buffer", udp.receive_buffer)?;
        let push = &self.push;
        table(out, "[push]")?;
        line(out, "deadline", time(push.deadline))?;
        line(out, "max_jobs", push.max_jobs)?;
        line(out, "max_payload", push.max_payload)?;
        line(out, "max_spread", time(push.max_spread))?;
        let history = &self.history;
        table(out, "[history]")?;
        line(out, "messages", history.messages)?;
        line(out, "bytes", history.bytes)?;
        line(out, "max_ttl", time(history.max_ttl))?;
        if let Some(path) = &history.path {
            line(out, "path", quoted(path.display()))?;
            let sync = match history.sync {
                Durability::Always => quoted("always"),
                Durability::Every(every) => time(every),
            };
            line(out, "sync", sync)?;
        }
        self.auth.write(out)?;
        self.keys.iter().try_for_each(|key| key.write(out))?;
        self.write_the_rest(out)
    }

    fn write_clients(&self, out: &mut String) -> fmt::Result {
        let clients = &self.clients;
        table(out, "[clients]")?;
        line(out, "handshake_timeout", time(clients.handshake_timeout))?;
        line(out, "heartbeat", time(clients.heartbeat))?;
        line(out, "max_connections", clients.max_connections)?;
        line(out, "max_per_address", clients.max_per_address)?;
        line(out, "accept_rate", clients.accept_rate)?;
        line(out, "max_devices", clients.max_devices)?;
        line(out, "max_groups", clients.max_groups)?;
        line(out, "max_hello", clients.max_hello)?;
        line(out, "max_frame", clients.max_frame)?;
        line(out, "remember_groups", time(clients.remember_groups))?;
        line(out, "queue_messages", clients.queue_messages)?;
        line(out, "queue_bytes", clients.queue_bytes)?;
        line(out, "queue_age", time(clients.queue_age))?;
        line(out, "memory_budget", clients.memory_budget)
    }

    fn write_the_rest(&self, out: &mut String) -> fmt::Result {
        let admin = &self.admin;
        table(out, "[admin]")?;
        line(out, "listen", quoted(admin.listen))?;
        if admin.token.is_some() {
            line(out, "token_file", HIDDEN)?;
        }
        line(out, "hosts", list(&admin.hosts))?;
        let drain = &self.drain;
        table(out, "[drain]")?;
        line(out, "linger", time(drain.linger))?;
        line(out, "grace", time(drain.grace))?;
        line(out, "spread", time(drain.spread))?;
        table(out, "[log]")?;
        line(out, "level", quoted(self.log.level))?;
        let format = match self.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        line(out, "format", quoted(format))?;
        line(out, "users", quoted(self.log.users.word()))
    }
}

impl Auth {
    fn write(&self, out: &mut String) -> fmt::Result {
        table(out, "[auth]")?;
        let AuthMode::Jwt(options) = &self.mode else {
            line(out, "mode", quoted("none"))?;
            return line(out, "insecure", self.insecure);
        };
        line(out, "mode", quoted("jwt"))?;
        line(out, "insecure", self.insecure)?;
        for (key, value) in [("audience", &options.audience), ("issuer", &options.issuer)] {
            if let Some(value) = value {
                line(out, key, quoted(value))?;
            }
        }
        let (named, unnamed): (Vec<_>, Vec<_>) =
            options.keys.iter().partition(|(kid, _)| kid.is_some());
        for (_, key) in unnamed {
            write_token_key(out, key)?;
        }
        for (kid, key) in named {
            table(out, "[[auth.keys]]")?;
            line(out, "kid", quoted(kid.as_deref().unwrap_or_default()))?;
            write_token_key(out, key)?;
        }
        Ok(())
    }
}

/// A public key is no secret, but a file of its own.
fn write_token_key(out: &mut String, key: &auth::Key) -> fmt::Result {
    line(out, "algorithm", quoted(key.algorithm().word()))?;
    let name = match key.algorithm() {
        auth::Algorithm::Hs256 => "secret",
        _ => "public_key_file",
    };
    line(out, name, HIDDEN)
}

impl Key {
    fn write(&self, out: &mut String) -> fmt::Result {
        table(out, "[[keys]]")?;
        line(out, "id", self.id)?;
        line(out, "secret", HIDDEN)?;
        line(out, "ops", list(self.ops.iter().map(|op| op.word())))?;
        line(
            out,
            "scopes",
            list(self.scopes.iter().map(|scope| scope.word())),
        )?;
        if let Some(groups) = &self.groups {
            line(out, "groups", list(groups))?;
        }
        line(out, "rate", self.rate)?;
        if let Some(ms) = self.not_before_ms {
            line(out, "not_before", show_moment(ms))?;
        }
        if let Some(ms) = self.not_after_ms {
            line(out, "not_after", show_moment(ms))?;
        }
        Ok(())
    }
}

fn table(out: &mut String, name: &str) -> fmt::Result {
    let gap = if out.is_empty() { "" } else { "\n" };
    writeln!(out, "{gap}{name}")
}

fn line(out: &mut String, key: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "{key} = {value}")
}

/// A string of TOML escapes what a string of JSON escapes.
fn quoted(text: impl Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}

fn time(duration: Duration) -> String {
    quoted(humantime::format_duration(duration))
}

fn list<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}
