//! Processes under test: each has its own id, runs on the server's core, and is killed by that id.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::Context;

use super::machine;
use crate::wire::encoding::Protocol;

/// Without a pace of accepts: the load comes from one machine at once.
pub(super) const AT_ONCE: &str = "[clients]\naccept_rate = 0\n";
/// Lines of a gateway's log that are shown when it does not become ready.
const LAST_LINES: usize = 20;

/// A child process that ends, by its id, when this is dropped.
pub struct Server(Child);

impl Server {
    /// Starts the command on the server's core, where there are two.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        if machine::has_two_cores() {
            machine::on_core(machine::SERVER_CORE, || Self::start_anywhere(command))?
        } else {
            Self::start_anywhere(command)
        }
    }

    /// Starts the command on the cores of this thread.
    pub(super) fn start_anywhere(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        Ok(Self(child.with_context(|| {
            format!("cannot start {}", command.get_program().display())
        })?))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard streams, as far as they are pipes and not taken yet.
    pub(super) fn pipes(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway in a process of its own, on ports that the kernel chose.
pub struct Gateway {
    server: Server,
    /// Where clients connect.
    pub native: SocketAddr,
    /// Where senders send.
    pub udp: SocketAddr,
    /// Where its metrics are.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts `program`, which is this one, as a gateway with one key that ends with its parent
    /// ([`become_gateway`]), and waits until it is ready. `secret` is that key in
    /// hex; it goes through a pipe and never to a disk. `extra` are further lines of its
    /// configuration, where the measurement needs other bounds than the defaults; without any it
    /// accepts as fast as clients come.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it is ready: then with the end of its log.
    pub fn start(program: &Path, key_id: u32, secret: &str, extra: &str) -> anyhow::Result<Self> {
        Self::start_speaking(Protocol::Native, program, (key_id, secret), extra)
    }

    /// The same of one at whose door this is spoken.
    ///
    /// # Errors
    /// As above.
    pub fn start_speaking(
        protocol: Protocol,
        program: &Path,
        (key_id, secret): (u32, &str),
        extra: &str,
    ) -> anyhow::Result<Self> {
        let more = if extra.is_empty() { AT_ONCE } else { extra };
        let mut command = Command::new(program);
        command
            .args(["bench", super::GATEWAY])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = Server::start(&mut command)?;
        let pipes = server.pipes();
        let mut stdin = pipes.stdin.take().context("standard input is no pipe")?;
        stdin
            .write_all((configuration(protocol, key_id, secret) + more).as_bytes())
            .context("the gateway does not read its configuration")?;
        drop(stdin);
        let stderr = pipes.stderr.take().context("standard error is no pipe")?;
        let [native, udp, admin] = ready(stderr)?;
        Ok(Self {
            server,
            native,
            udp,
            admin,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

/// Turns this process into a gateway that reads its configuration from standard input, and that the
/// kernel ends with its parent: also with one that is killed.
///
/// # Errors
/// Always one: otherwise it does not come back.
pub(super) fn become_gateway() -> anyhow::Error {
    if let Err(error) = machine::end_with_parent() {
        return error;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let error = Command::new(program)
        .args(["serve", "--config", "/dev/stdin"])
        .exec();
    anyhow::Error::new(error).context("cannot become a gateway")
}

/// Every default but the doors and the key.
fn configuration(protocol: Protocol, key_id: u32, secret: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\n\
         [udp]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [[keys]]\nid = {key_id}\nsecret = \"{secret}\"\n"
    )
}

/// Waits for the line that names the doors, and goes on reading what follows, so that the gateway
/// never waits for a reader of its log.
fn ready(log: impl Read + Send + 'static) -> anyhow::Result<[SocketAddr; 3]> {
    let mut log = BufReader::new(log);
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let mut line = String::new();
    loop {
        line.clear();
        if log.read_line(&mut line).context("the gateway's log")? == 0 {
            let last: String = last.into_iter().collect();
            anyhow::bail!(
                "the gateway ended before it was ready:\n{}",
                last.trim_end()
            );
        }
        if let Some(doors) = doors(&line) {
            thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(doors);
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
    }
}

fn doors(line: &str) -> Option<[SocketAddr; 3]> {
    let (_, fields) = line.split_once("pushgate: ready ")?;
    let mut doors = fields
        .split_ascii_whitespace()
        .map_while(|field| field.split_once('=')?.1.parse().ok());
    // One listener, under the name of what it speaks; services; operators.
    Some([doors.next()?, doors.next()?, doors.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::settings::Settings;

    #[test]
    fn the_doors_are_read_from_the_line_of_the_log() {
        for protocol in Protocol::ALL {
            let line = format!(
                "2026-01-02T03:04:05Z  INFO pushgate: ready {protocol}=127.0.0.1:1 \
                 udp=127.0.0.1:2 admin=127.0.0.1:3\n"
            );
            let ports = doors(&line).unwrap().map(|door| door.port());
            assert_eq!(ports, [1, 2, 3]);
        }
        assert!(doors("INFO pushgate: draining").is_none());
    }

    #[test]
    fn the_gateway_takes_the_configuration() {
        let text = configuration(Protocol::WebSocket, 7, &"ab".repeat(32));
        let settings = Settings::parse(&text, Path::new("bench.toml")).unwrap();
        assert_eq!(settings.clients.accept_rate, 2000);
        assert_eq!(settings.keys.len(), 1);
    }

    #[test]
    fn a_gateway_that_ends_early_leaves_its_last_words() {
        let error = ready("address in use\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("address in use"), "{error}");
    }
}
