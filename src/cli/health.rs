//! `pushgate health`: one question to a gateway, for supervisors that run a command.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::args::duration;
use super::check::load;
use super::exit::{CommandResult, Exit, Failure};
use super::output;

/// The default of `admin.listen`.
const ADMIN: &str = "http://127.0.0.1:7401";
/// An answer is a line, and its head a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Ask a running gateway whether it is well
///
/// Reads /healthz of the admin door, or /readyz, and prints the line that it answers. Made for
/// HEALTHCHECK of a container and for probes that run a command: it needs no shell, ends within its
/// time whatever the gateway does, and shows the token where the door asks for one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate health
  pushgate health --config /etc/pushgate/pushgate.toml
  pushgate health --ready --url http://10.0.0.5:7401 --token-file token

Exit codes: 0 well, 1 not well or no answer, 2 usage, 64 the configuration has problems.")]
pub(super) struct Health {
    /// Take the address of the admin door and its token from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin door instead of that, http://HOST:PORT [default: http://127.0.0.1:7401]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with the token of the admin door
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask whether it serves (/readyz), not only whether it works
    #[arg(long)]
    ready: bool,
    /// How long all of it may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    timeout: Duration,
}

impl Health {
    pub(super) fn run(self) -> CommandResult {
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
                token.map(|token| token.expose().to_owned())
            }
        };
        let host = host(&url)?;
        let page = if self.ready { "/readyz" } else { "/healthz" };
        let deadline = Instant::now() + self.timeout;
        let answer = ask(host, page, token.as_deref(), deadline);
        let (status, text) = answer.with_context(|| format!("no answer of http://{host}{page}"))?;
        let line = text.lines().next().unwrap_or_default();
        if status != 200 {
            output::note(format!("pushgate: http://{host}{page}: {status}: {line}"));
            return Ok(Exit::Failed);
        }
        output::line(line)?;
        Ok(Exit::Ok)
    }
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

fn read_token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the token file {}", path.display()))?;
    Ok(text.trim().to_owned())
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

/// Status and body of a page.
fn ask(
    host: &str,
    page: &str,
    token: Option<&str>,
    deadline: Instant,
) -> anyhow::Result<(u16, String)> {
    let has_port = host.parse::<SocketAddr>().is_ok() || host.rsplit_once(':').is_some();
    let full = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut addresses = full.to_socket_addrs().context("no such host")?;
    let address = addresses.next().context("no such host")?;
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    // HTTP/1.0: the body comes as it is and ends with the connection.
    let request = format!("GET {page} HTTP/1.0\r\nHost: {host}\r\n{token}\r\n");
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    let answer = read(&mut stream, deadline)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|code| code.parse().ok());
    Ok((status.context("no HTTP")?, body.to_owned()))
}

/// All that comes, by the deadline however slowly it comes.
fn read(stream: &mut TcpStream, deadline: Instant) -> anyhow::Result<String> {
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
        anyhow::ensure!(
            answer.len() as u64 <= ANSWER_BYTES_MAX,
            "an answer without end"
        );
    }
    String::from_utf8(answer).context("no text")
}

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
