//! How a command reaches the admin door of a running gateway: its address, a credential, and HTTP.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use zeroize::Zeroizing;

use super::args::{read_token, resolve_now};
use super::check::load;
use super::exit::Failure;
use super::heard::Heard;
use super::output;
use crate::clock::Clock;
use crate::wire::seal::Key;

/// The default of `admin.listen`.
const ADMIN: &str = "http://127.0.0.1:7401";

/// Where the door is, and the token that it asks for.
#[derive(Debug, Args)]
pub(super) struct DoorArgs {
    /// Take the address of the admin door and its token from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin door instead of that, http://HOST:PORT [default: http://127.0.0.1:7401]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with the token of the admin door
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// An admin door, and how this command shows who it is.
pub(super) struct Door {
    host: String,
    credential: Credential,
}

/// Who asks.
enum Credential {
    /// Whoever is on this machine.
    None,
    /// An operator.
    Token(Zeroizing<String>),
    /// A service.
    Key(u32, Key),
}

impl DoorArgs {
    /// The door that the arguments name.
    pub(super) fn door(&self) -> Result<Door, Failure> {
        let settings = match &self.config {
            Some(path) => Some(load(Some(path))?),
            None => None,
        };
        let admin = settings.as_ref().map(|settings| &settings.admin);
        let url = match (&self.url, admin) {
            (Some(url), _) => url.clone(),
            (None, Some(admin)) => format!("http://{}", reached_at(admin.listen)?),
            (None, None) => ADMIN.to_owned(),
        };
        let token = match &self.token_file {
            Some(path) => Some(read_token(path).map_err(Failure::configuration)?),
            None => {
                let token = admin.and_then(|admin| admin.token.as_ref());
                token.map(|token| Zeroizing::new(token.expose().to_owned()))
            }
        };
        Ok(Door {
            host: host(&url)?.to_owned(),
            credential: token.map_or(Credential::None, Credential::Token),
        })
    }
}

impl Door {
    /// The same, asked by a service that signs with its key.
    pub(super) fn signing(self, (id, key): (u32, Key)) -> Self {
        Self {
            credential: Credential::Key(id, key),
            ..self
        }
    }

    /// The URL of a page, for people.
    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.host)
    }

    /// Status and body of what the door answers to `method target`, `bytes_max` bytes at most, by
    /// the deadline.
    pub(super) fn ask(
        &self,
        (method, target): (&str, &str),
        bytes_max: usize,
        deadline: Instant,
    ) -> anyhow::Result<(u16, String)> {
        let host = &*self.host;
        let full = match host.ends_with(']') || !host.contains(':') {
            true => format!("{host}:80"),
            false => host.to_owned(),
        };
        let address = resolve_now(&full)?;
        let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
        let shown = self.credential.headers(method, target);
        // HTTP/1.0: the body comes as it is and ends with the connection.
        let request = format!(
            "{method} {target} HTTP/1.0\r\nHost: {host}\r\n{}\r\n",
            *shown
        );
        let request = Zeroizing::new(request);
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(request.as_bytes())?;
        let answer = read(&mut stream, bytes_max, deadline)?;
        if let Some(why) = wrong_door(Heard::of(&answer)) {
            anyhow::bail!("{why}{ADMIN_DOOR}");
        }
        let answer = String::from_utf8(answer).context("no text")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = status.and_then(|code| code.parse().ok());
        let status = status.context("no HTTP")?;
        // The admin door takes HTTP/1.0; a door of WebSocket does not (RFC 6455, section 4.1).
        anyhow::ensure!(status != 505, "{}{ADMIN_DOOR}", body.trim());
        Ok((status, body.to_owned()))
    }
}

impl Credential {
    /// What shows it in the head of a request without a body.
    fn headers(&self, method: &str, target: &str) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::None => String::new(),
            Self::Token(token) => format!("Authorization: Bearer {}\r\n", **token),
            Self::Key(id, key) => {
                let now = Clock::system().now_ms();
                let signed = format!("{method}\n{target}\n{now}\n\n");
                let mac = output::hex(&key.sign(&[signed.as_bytes()]));
                format!(
                    "X-Pushgate-Key: {id}\r\nX-Pushgate-Time: {now}\r\n\
                     X-Pushgate-Signature: {mac}\r\n"
                )
            }
        })
    }
}

/// A value of a parameter.
pub(super) fn escaped(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// Where a door that listens here is reached from this machine.
fn reached_at(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if listen.port() == 0 {
        let text = "admin.listen leaves the port to the kernel: name the door with --url";
        return Err(Failure::usage(text));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

/// `HOST:PORT` of a URL without anything behind it.
fn host(url: &str) -> Result<&str, Failure> {
    let refused = |why: &str| Failure::usage(format!("--url {url}: {why}"));
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or_else(|| refused("the admin door speaks http://"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = host.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain && !host.is_empty() && !host.contains(['/', '?', '#', '@']) {
        true => Ok(host),
        false => Err(refused("http://HOST:PORT is what it may say")),
    }
}

/// Why what was said first cannot be an answer of the admin door.
const fn wrong_door(heard: Heard) -> Option<&'static str> {
    match heard {
        Heard::Http => None,
        Heard::Nothing => Some("it hung up without a word"),
        Heard::Native => Some("what answers there speaks pushgate's own frames, for clients"),
        Heard::Mqtt => Some("what answers there speaks MQTT"),
        Heard::Tls => Some("what answers there speaks TLS"),
        Heard::Other => Some("what answers there speaks no HTTP"),
    }
}

/// All that comes, by the deadline however slowly it comes.
fn read(stream: &mut TcpStream, bytes_max: usize, deadline: Instant) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => anyhow::bail!(LATE),
            Err(error) => return Err(error.into()),
        }
        anyhow::ensure!(answer.len() <= bytes_max, "an answer without end");
    }
    Ok(answer)
}

const ADMIN_DOOR: &str = ": is this the admin door, as admin.listen has it?";
const LATE: &str = "not in time";

fn left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    anyhow::ensure!(!left.is_zero(), LATE);
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_on_every_address_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:7401", "127.0.0.1:7401"),
            ("[::]:7401", "[::1]:7401"),
            ("10.0.0.5:80", "10.0.0.5:80"),
        ] {
            let listen = listen.parse().expect("is an address");
            let address = reached_at(listen).expect("has a port");
            assert_eq!(address.to_string(), reached);
        }
        let anywhere = "127.0.0.1:0".parse().expect("is an address");
        assert!(reached_at(anywhere).is_err());
    }

    #[test]
    fn a_value_is_escaped_byte_by_byte() {
        assert_eq!(escaped("room/1 & \u{e9}"), "room%2F1+%26+%C3%A9");
        assert_eq!(escaped("a-b_c.d9Z"), "a-b_c.d9Z");
    }

    #[test]
    fn a_url_is_a_host_and_a_port() {
        assert_eq!(host("http://localhost:7401").ok(), Some("localhost:7401"));
        assert_eq!(host("http://[::1]:7401/").ok(), Some("[::1]:7401"));
        for bad in [
            "https://localhost",
            "localhost:7401",
            "http://",
            "http://localhost/healthz",
            "http://a b",
            "http://a\r\nX: y",
            "http://user@localhost",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
