//! What differs between the settings that run and those of a file, key by key, and which of it can
//! hold without a restart.

use super::super::settings::{
    Admin, Auth, AuthMode, Clients, Drain, History, Key, Log, Push, Settings, Udp,
};
use crate::transport::auth::Options;

/// What a file brings.
#[derive(Debug)]
pub(super) struct Changes {
    /// What is to run: the file's, but as before where that needs a restart.
    pub(super) settings: Settings,
    /// The keys that differ and are taken over.
    pub(super) applied: Vec<String>,
    /// The keys that differ and stay as they are.
    pub(super) needs_restart: Vec<String>,
}

/// Goes through all fields of a section: one that is missing here does not compile.
macro_rules! section {
    ($changes:ident, $file:expr, $running:ident = $type:ident {
        $($effect:ident $field:ident = $key:literal,)*
    }) => {{
        let $type { $($field),* } = $file;
        $(if $changes.settings.$running.$field != *$field {
            section!(@$effect $changes, $running.$field, $key, $field);
        })*
    }};
    (@live $changes:ident, $running:ident.$to:ident, $key:literal, $from:ident) => {
        $changes.applied.push($key.to_owned());
        $changes.settings.$running.$to.clone_from($from);
    };
    (@restart $changes:ident, $running:ident.$to:ident, $key:literal, $from:ident) => {
        $changes.needs_restart.push($key.to_owned());
    };
}

impl Changes {
    /// Compares. No message of more than `max_payload` bytes can be sent before a restart: how long
    /// a frame may be is what clients were told when they came in.
    pub(super) fn between(running: &Settings, file: &Settings, max_payload: usize) -> Self {
        let mut changes = Self {
            settings: running.clone(),
            applied: Vec::new(),
            needs_restart: Vec::new(),
        };
        changes.settings.warnings.clone_from(&file.warnings);
        changes.listeners(file);
        section!(changes, &file.clients, clients = Clients {
            live handshake_timeout = "clients.handshake_timeout",
            live heartbeat = "clients.heartbeat",
            live max_connections = "clients.max_connections",
            live max_per_address = "clients.max_per_address",
            live accept_rate = "clients.accept_rate",
            live max_devices = "clients.max_devices",
            live max_groups = "clients.max_groups",
            live max_hello = "clients.max_hello",
            live max_frame = "clients.max_frame",
            live remember_groups = "clients.remember_groups",
            live queue_messages = "clients.queue_messages",
            live queue_bytes = "clients.queue_bytes",
            live queue_age = "clients.queue_age",
            live memory_budget = "clients.memory_budget",
        });
        section!(changes, &file.udp, udp = Udp {
            restart listen = "udp.listen",
            live unsigned = "udp.unsigned",
            live window = "udp.window",
            live future = "udp.future",
            live max_remembered = "udp.max_remembered",
            restart receive_buffer = "udp.receive_buffer",
        });
        let mut push = file.push.clone();
        if push.max_payload > max_payload {
            changes.needs_restart.push("push.max_payload".to_owned());
            push.max_payload = running.push.max_payload;
        }
        section!(changes, &push, push = Push {
            live deadline = "push.deadline",
            live max_jobs = "push.max_jobs",
            live max_payload = "push.max_payload",
            live max_spread = "push.max_spread",
        });
        section!(changes, &file.history, history = History {
            live messages = "history.messages",
            live bytes = "history.bytes",
            live max_ttl = "history.max_ttl",
            restart path = "history.path",
            restart sync = "history.sync",
        });
        changes.auth(&file.auth);
        changes.keys(&file.keys);
        section!(changes, &file.admin, admin = Admin {
            restart listen = "admin.listen",
            live token = "admin.token_file",
            live hosts = "admin.hosts",
        });
        section!(changes, &file.drain, drain = Drain {
            live linger = "drain.linger",
            live grace = "drain.grace",
            live spread = "drain.spread",
        });
        section!(changes, &file.log, log = Log {
            live level = "log.level",
            restart format = "log.format",
            live users = "log.users",
        });
        changes
    }

    /// A listener is the same where its name is; its door stays as it was bound, but for what
    /// stands before HELLO there. Whether that is TLS, or a PROXY header, is a matter of the door.
    fn listeners(&mut self, file: &Settings) {
        for (index, new) in file.listeners.iter().enumerate() {
            let mut running = self.settings.listeners.iter_mut();
            let Some(old) = running.find(|old| old.name == new.name) else {
                let key = format!("listeners[{index}] ({:?} is new)", new.name);
                self.needs_restart.push(key);
                continue;
            };
            if old.address != new.address {
                self.needs_restart
                    .push(format!("listeners[{index}].address"));
            }
            match (&old.tls, &new.tls) {
                (Some(was), Some(is)) if was != is => {
                    self.applied.push(format!("listeners[{index}].tls"));
                    old.tls.clone_from(&new.tls);
                }
                (None, Some(_)) | (Some(_), None) => {
                    self.needs_restart.push(format!("listeners[{index}].tls"));
                }
                _ => {}
            }
            if old.protocol != new.protocol {
                let key = format!("listeners[{index}].protocol");
                self.needs_restart.push(key);
            } else if old.origins != new.origins {
                self.applied.push(format!("listeners[{index}].origins"));
                old.origins.clone_from(&new.origins);
            }
            match (&old.trusted, &new.trusted) {
                (Some(was), Some(is)) if was != is => {
                    self.applied.push(format!("listeners[{index}].trusted"));
                    old.trusted.clone_from(&new.trusted);
                }
                (None, Some(_)) | (Some(_), None) => {
                    let key = format!("listeners[{index}].proxy_protocol");
                    self.needs_restart.push(key);
                }
                _ => {}
            }
        }
        let is_gone = |name: &str| file.listeners.iter().all(|new| new.name != name);
        let running = &self.settings.listeners;
        for old in running.iter().filter(|old| is_gone(&old.name)) {
            let key = format!("listeners ({:?} is gone)", old.name);
            self.needs_restart.push(key);
        }
    }

    /// What tokens are checked against is named key by key: an operator who exchanges a secret is
    /// told of that secret.
    fn auth(&mut self, file: &Auth) {
        let Auth {
            mode,
            own_key,
            insecure,
        } = file;
        let running = &mut self.settings.auth;
        match (&running.mode, mode) {
            (AuthMode::Jwt(was), AuthMode::Jwt(is)) => {
                let own_key = own_key.or(running.own_key).unwrap_or("keys");
                self.applied.append(&mut tokens((was, is), own_key));
            }
            (was, is) if was != is => self.applied.push("auth.mode".to_owned()),
            _ => {}
        }
        if running.insecure != *insecure {
            self.applied.push("auth.insecure".to_owned());
        }
        running.clone_from(file);
    }

    /// Keys are told apart by their id, wherever they stand.
    fn keys(&mut self, file: &[Key]) {
        let running = &self.settings.keys;
        let mut changed = Vec::new();
        for new in file {
            match running.iter().find(|old| old.id == new.id) {
                Some(old) if !is_same(old, new) => {
                    changed.push(format!("keys ({} changed)", new.id));
                }
                Some(_) => {}
                None => changed.push(format!("keys ({} is new)", new.id)),
            }
        }
        let is_gone = |old: &&Key| file.iter().all(|new| new.id != old.id);
        let gone = running.iter().filter(is_gone);
        changed.extend(gone.map(|old| format!("keys ({} is gone)", old.id)));
        if !changed.is_empty() {
            self.settings.keys = file.to_vec();
            self.applied.append(&mut changed);
        }
    }
}

/// The keys of `[auth]` in which these differ; `own_key` is the one that stands in the section.
fn tokens((was, is): (&Options, &Options), own_key: &str) -> Vec<String> {
    let Options {
        keys,
        audience,
        issuer,
    } = is;
    let mut changed = Vec::new();
    let told = |kid: &Option<String>, what: &str, own: &str| match kid {
        Some(kid) => format!("auth.keys ({kid:?} {what})"),
        None => format!("auth.{own}"),
    };
    for (kid, key) in keys {
        match was.keys.iter().find(|old| old.0 == *kid) {
            None => changed.push(told(kid, "is new", own_key)),
            Some((_, old)) if old.algorithm() != key.algorithm() => {
                changed.push(told(kid, "changed", "algorithm"));
            }
            Some((_, old)) if old != key => changed.push(told(kid, "changed", own_key)),
            Some(_) => {}
        }
    }
    let is_gone = |old: &&(Option<String>, _)| keys.iter().all(|new| new.0 != old.0);
    let gone = was.keys.iter().filter(is_gone);
    changed.extend(gone.map(|(kid, _)| told(kid, "is gone", own_key)));
    if was.audience != *audience {
        changed.push("auth.audience".to_owned());
    }
    if was.issuer != *issuer {
        changed.push("auth.issuer".to_owned());
    }
    changed
}

fn is_same(old: &Key, new: &Key) -> bool {
    let Key {
        id,
        key,
        ops,
        scopes,
        groups,
        rate,
        not_before_ms,
        not_after_ms,
    } = old;
    *id == new.id
        && key.is_same(&new.key)
        && *ops == new.ops
        && *scopes == new.scopes
        && *groups == new.groups
        && *rate == new.rate
        && (*not_before_ms, *not_after_ms) == (new.not_before_ms, new.not_after_ms)
}

#[cfg(test)]
mod tests;
