//! The configuration: a file as typed, then checked. Whoever holds [`Settings`] holds values that
//! are in range and go together; a file with problems gives all of them at once, each with its
//! place and the way out.
//!
//! The contract is `config/pushgate.toml`, which holds every key with its default. What that file
//! speaks of and this version does not have is refused, never ignored.

mod problem;

mod value;

mod document;
mod reader;

mod keys;
mod listeners;
mod secrets;
mod sections;
mod tokens;

mod check;

mod print;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;
use tracing::level_filters::LevelFilter;
use zeroize::Zeroizing;

pub use listeners::Tls;
pub use problem::{Problem, Problems};

use crate::hub::keeper::Durability;
use crate::redaction::Names;
use crate::transport::auth;
use crate::wire::datagram::Op;
use crate::wire::encoding::Protocol;
use crate::wire::frame::Scope;
use crate::wire::seal;
use document::Document;

/// A configuration of a thousand keys has half of it; more is the wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Bounds on clients.
    pub clients: Clients,
    /// The door of business services.
    pub udp: Udp,
    /// Bounds on pushes.
    pub push: Push,
    /// Bounds on kept messages.
    pub history: History,
    /// Who clients are.
    pub auth: Auth,
    /// The keys of business services, each id once.
    pub keys: Vec<Key>,
    /// The admin door.
    pub admin: Admin,
    /// How the process leaves.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: Log,
    /// What is odd and yet can be run; to be logged at start.
    pub warnings: Vec<Problem>,
}

/// One door for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique; a socket that systemd passes under it takes the place of the address.
    pub name: String,
    /// Where to listen; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The pages that may connect, by their origins; where WebSocket is spoken.
    pub origins: Vec<String>,
    /// What it speaks TLS with, if it does.
    pub tls: Option<Tls>,
    /// The networks of the load balancers that it is behind; `None`: clients connect themselves.
    pub trusted: Option<Vec<IpNet>>,
}

/// Bounds on clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// From accept to a whole HELLO, absolute.
    pub handshake_timeout: Duration,
    /// Offered to clients that leave the choice; whole seconds, 5 s to 1 h.
    pub heartbeat: Duration,
    /// Connections held at once; 0: as many as the descriptor limit leaves.
    pub max_connections: usize,
    /// Connections of one source (an IPv4 address, an IPv6 /64); 0: no bound.
    pub max_per_address: usize,
    /// Connections accepted a second; 0: no bound.
    pub accept_rate: u32,
    /// Sessions of one user.
    pub max_devices: usize,
    /// Groups of one session.
    pub max_groups: usize,
    /// Bytes of a HELLO.
    pub max_hello: usize,
    /// Bytes of any other frame from a client.
    pub max_frame: usize,
    /// How long the groups that a service gave outlive a disconnect.
    pub remember_groups: Duration,
    /// Messages that one client may be behind.
    pub queue_messages: u64,
    /// Bytes that one client may be behind; one message of the largest payload fits.
    pub queue_bytes: u64,
    /// Age of the oldest message that one client may be behind.
    pub queue_age: Duration,
    /// Bytes of messages held for clients that are behind, together.
    pub memory_budget: u64,
}

/// Which unsigned datagrams are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// Those from loopback; the socket then listens on loopback.
    Loopback,
    /// None.
    Never,
}

/// The door of business services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Where to listen; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Which unsigned datagrams are carried out.
    pub unsigned: Unsigned,
    /// How old a request may be.
    pub window: Duration,
    /// How far ahead its clock may be.
    pub future: Duration,
    /// Request ids remembered at once.
    pub max_remembered: usize,
    /// Bytes of receive buffer asked of the kernel.
    pub receive_buffer: usize,
}

/// Bounds on pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// A job that takes longer answers TIMEOUT; zero: every job that is not done at once.
    pub deadline: Duration,
    /// Jobs in flight.
    pub max_jobs: usize,
    /// Bytes of a payload, at most 65,000.
    pub max_payload: usize,
    /// The longest spread.
    pub max_spread: Duration,
}

/// Bounds on kept messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Kept messages.
    pub messages: u64,
    /// Their bytes; one message of the largest payload fits.
    pub bytes: u64,
    /// The longest ttl; whole seconds that fit 32 bits.
    pub max_ttl: Duration,
    /// The directory that it is rebuilt from at a start; without one it is lost at the exit.
    pub path: Option<PathBuf>,
    /// When a kept push counts as stored, with a path.
    pub sync: Durability,
}

/// How a client says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// The token is the user name.
    None,
    /// The token is a JSON Web Token, checked against these.
    Jwt(auth::Options),
}

/// Who clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How a client says who it is.
    pub mode: AuthMode,
    /// The name under which the key of the section itself stands there, if it has one.
    pub own_key: Option<&'static str>,
    /// Mode "none" may stand on a listener that is not loopback.
    pub insecure: bool,
}

/// A key of a business service.
#[derive(Clone, Debug)]
pub struct Key {
    /// Not 0.
    pub id: u32,
    /// The secret.
    pub key: seal::Key,
    /// What it may ask for; at least one.
    pub ops: Vec<Op>,
    /// Whom it may push to and count; at least one.
    pub scopes: Vec<Scope>,
    /// The groups it may name: patterns, where a trailing `*` stands for any rest. `None`: all.
    pub groups: Option<Vec<String>>,
    /// Requests a second, and as many at once; 0: no bound.
    pub rate: u32,
    /// Unix milliseconds before which it is unknown.
    pub not_before_ms: Option<u64>,
    /// Unix milliseconds after which it is unknown; not before the one above.
    pub not_after_ms: Option<u64>,
}

/// The admin door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The bearer token; always there on an address that is not loopback.
    pub token: Option<Secret>,
    /// Host names taken besides loopback names, lower case, without a port.
    pub hosts: Vec<String>,
}

/// How the process leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// At least this long not ready.
    pub linger: Duration,
    /// At most this long to send what clients have ahead of them.
    pub grace: Duration,
    /// Clients are told to come back at a moment of this span.
    pub spread: Duration,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: LevelFilter,
    /// What a line looks like.
    pub format: LogFormat,
    /// What it shows of the names of users and devices.
    pub users: Names,
}

/// A text that no log shows, and that is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Default for Settings {
    /// What an empty file means.
    fn default() -> Self {
        Self::parse("", Path::new("(defaults)")).expect("the defaults have no problem")
    }
}

impl Settings {
    /// Reads and checks a file. Blocks on the disk.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it could not be read.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text = secrets::read_config(path, FILE_BYTES_MAX).map_err(|error| {
            let what = format!("cannot be read: {error}");
            let (key, way_out) = (String::new(), String::new());
            let problem = Problem {
                line: 0,
                column: 0,
                key,
                what,
                way_out,
            };
            Problems {
                path: path.to_owned(),
                list: vec![problem],
            }
        })?;
        Self::parse(&text, path)
    }

    /// Checks values together that do not come from one file: what runs on until a restart, with
    /// what a file brings. `path` is for messages.
    ///
    /// # Errors
    /// What does not go together, without a place.
    pub fn check(&self, path: &Path) -> Result<(), Problems> {
        let (root, _) = DeTable::parse_recoverable("");
        let document = Document::new("", path, root.get_ref());
        check::check(&document, self);
        let (mut list, _) = document.findings();
        if list.is_empty() {
            return Ok(());
        }
        for problem in &mut list {
            (problem.line, problem.column) = (0, 0);
        }
        Err(Problems {
            path: path.to_owned(),
            list,
        })
    }

    /// Checks the text of a file; `path` is for messages and for the relative paths in it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let (root, syntax) = DeTable::parse_recoverable(text);
        let document = Document::new(text, path, root.get_ref());
        let mut settings = sections::read(&document);
        if syntax.is_empty() {
            check::check(&document, &settings);
        }
        let (mut list, warnings) = document.findings();
        let mut syntax: Vec<_> = syntax
            .iter()
            .map(|error| syntax_problem(text, error))
            .collect();
        list.retain(|problem| {
            let under = |broken: &Problem| is_under(text, broken.line, problem.line);
            !syntax.iter().any(under)
        });
        list.append(&mut syntax);
        if !list.is_empty() {
            list.sort_by_key(|problem| (problem.line, problem.column));
            return Err(Problems {
                path: path.to_owned(),
                list,
            });
        }
        settings.warnings = warnings;
        Ok(settings)
    }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let (line, column) = problem::position(text, error.span().map_or(0, |span| span.start));
    let what = format!("not TOML: {}", error.message());
    let way_out = match text.lines().nth(line - 1) {
        Some(header) if is_header(header) => {
            "a table begins with a line such as [clients] or [[keys]]; what stands under this one \
             is checked when it is mended"
        }
        _ => "",
    };
    Problem {
        line,
        column,
        key: String::new(),
        what,
        way_out: way_out.to_owned(),
    }
}

/// Whether a problem on this line comes of the broken one: it is the same, or it stands under a
/// broken header, and so the parser took it for a key of another table.
fn is_under(text: &str, broken: usize, line: usize) -> bool {
    let mut lines = (1..).zip(text.lines()).skip(broken - 1);
    let header = lines.next().is_some_and(|(_, header)| is_header(header));
    let next = lines.find(|(_, line)| is_header(line));
    line == broken || header && broken < line && next.is_none_or(|(next, _)| line < next)
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}
