//! The real program on free ports, ended with the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use toml::{Table, Value};

use super::process::{Process, await_line};
use super::scrape::Scrape;
use super::within;

/// What a test's configuration has unless it says otherwise: free ports; a clock tolerance that
/// makes the gateway ready at once (what is older than its start + future is stale); nobody waits
/// to be accepted; a short drain.
const DEFAULTS: &str = r#"
[clients]
accept_rate = 0
[udp]
listen = "127.0.0.1:0"
future = "50ms"
[admin]
listen = "127.0.0.1:0"
[drain]
linger = "100ms"
[log]
format = "json"
"#;

/// A gateway in a process of its own. It is killed, by its id, when it is dropped.
pub(crate) struct Gateway {
    process: Process,
    /// Where its configuration is, `pushgate.toml`.
    pub(crate) directory: TempDir,
    /// For clients.
    pub(crate) native: SocketAddr,
    /// For clients, by the names of the listeners.
    doors: HashMap<String, SocketAddr>,
    /// For senders.
    pub(crate) udp: SocketAddr,
    /// For operators.
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Starts one on this configuration (TOML), completed with [`DEFAULTS`], and waits for its line
    /// `ready`.
    #[track_caller]
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, Command::new(env!("CARGO_BIN_EXE_pushgate")))
    }

    /// The same, of a program that somebody has prepared.
    #[track_caller]
    pub(crate) fn start_with(config: &str, mut command: Command) -> Self {
        Self::launch(config, |path| {
            command.args(["serve", "--config"]).arg(path);
            // The level is the configuration's.
            command.env_remove("RUST_LOG");
            Process::start(&mut command)
        })
    }

    /// The same, of a process that is started by somebody else with the file at this path.
    #[track_caller]
    pub(crate) fn launch(config: &str, start: impl FnOnce(&Path) -> Process) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A program of another user reads it, too.
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), everybody).expect("the directory is ours");
        let path = directory.path().join("pushgate.toml");
        std::fs::write(&path, complete(config)).expect("the configuration is written");
        let process = start(&path);
        let mut doors = HashMap::new();
        let [native, udp, admin] = await_line(&process.stderr, |line| {
            doors.extend(door(line));
            ready(line)
        });
        Self {
            process,
            directory,
            native,
            doors,
            udp,
            admin,
        }
    }

    /// Where the listener of this name listens.
    #[track_caller]
    pub(crate) fn door(&self, name: &str) -> SocketAddr {
        *self.doors.get(name).expect("a listener of that name")
    }

    /// Puts another configuration, completed likewise, in the place of its file.
    pub(crate) fn rewrite(&self, config: &str) {
        self.rewrite_as_it_is(&complete(config));
    }

    /// The same with a text that need not be a configuration. In one step, as editors do it.
    pub(crate) fn rewrite_as_it_is(&self, text: &str) {
        let path = self.directory.path().join("pushgate.toml");
        let new = self.directory.path().join("pushgate.toml.new");
        std::fs::write(&new, text).expect("the configuration is written");
        std::fs::rename(new, path).expect("the configuration is replaced");
    }

    /// The fields of the next line of its log that has this message.
    #[track_caller]
    pub(crate) fn await_log(&self, message: &str) -> serde_json::Value {
        await_line(&self.process.stderr, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = line.get("fields")?;
            let is_it = fields.get("message")?.as_str()? == message;
            is_it.then(|| fields.clone())
        })
    }

    /// From now on nobody reads its log.
    pub(crate) fn stall_log(&self) {
        self.process.stderr_is_read.shut();
    }

    /// Somebody reads its log again.
    pub(crate) fn read_log(&self) {
        self.process.stderr_is_read.open();
    }

    /// Waits for its end while nobody need read its log: the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait()
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = i32::try_from(self.process.id()).expect("a process id fits");
        Pid::from_raw(id).expect("a process has an id that is not 0")
    }

    /// Sends a signal to this process.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the gateway is there");
    }

    /// Waits for its end (somebody has sent a signal): the exit code and the log since `ready`.
    pub(crate) async fn finish(self) -> (Option<i32>, Vec<String>) {
        let Self { process, .. } = self;
        let finished = tokio::task::spawn_blocking(|| process.finish());
        let (code, _, log) = finished.await.expect("waiting does not panic");
        (code, log)
    }

    /// Status and body of a page of the admin door.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "Accept: */*").await
    }

    /// The same with another line in the request's head.
    pub(crate) async fn get_with(&self, path: &str, header: &str) -> (u16, String) {
        let headers = format!("Host: {}\r\n{header}\r\n", self.admin);
        self.ask(&format!("GET {path}"), &headers, "").await
    }

    /// Status and body of what a page says to JSON.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let headers = format!(
            "Host: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n",
            self.admin
        );
        self.ask(&format!("POST {path}"), &headers, body).await
    }

    /// Status and answer of a reload that somebody asks the admin door for.
    pub(crate) async fn reload(&self) -> (u16, serde_json::Value) {
        let host = format!("Host: {}\r\n", self.admin);
        let (status, body) = self.ask("POST /v1/reload", &host, "").await;
        let body = serde_json::from_str(&body);
        (status, body.expect("the answer is JSON"))
    }

    /// Removes every kept message, as operators do: nobody waits for the end of a ttl.
    pub(crate) async fn purge(&self) {
        let host = format!("Host: {}\r\n", self.admin);
        let (status, said) = self.ask("DELETE /v1/history?all", &host, "").await;
        assert_eq!(status, 200, "{said}");
        let kept = self.scrape().await.value("pushgate_history_messages");
        assert_eq!(kept, 0, "{said}");
    }

    /// Status and body of what the admin door answers to a request with these headers.
    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let response = within(line, self.request(line, headers, body)).await;
        let response = response.unwrap_or_else(|error| panic!("{line}: {error}"));
        let response = String::from_utf8_lossy(&response);
        let (head, body) = response.split_once("\r\n\r\n").expect("a head ends");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    async fn request(&self, line: &str, headers: &str, body: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.admin).await?;
        // HTTP/1.0, so that the body comes as it is and ends with the connection.
        let request = format!("{line} HTTP/1.0\r\n{headers}\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::new();
        match stream.read_to_end(&mut response).await {
            // It answered before it had read everything.
            Err(_) if !response.is_empty() => Ok(response),
            read => read.map(|_| response),
        }
    }

    /// All metrics now.
    pub(crate) async fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Scrape::parse(&text)
    }

    /// Descriptors that the process has open.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path)
            .expect("the gateway is there")
            .count()
    }

    /// Memory that the process holds now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the gateway is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("a process has a size")
            * 1024
    }
}

/// Name and address of a line `listening`.
fn door(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")?.as_str()? != "listening" {
        return None;
    }
    let address = fields.get("address")?.as_str()?.parse().ok()?;
    Some((fields.get("door")?.as_str()?.to_owned(), address))
}

/// The addresses of a line `ready`.
pub(crate) fn ready(line: &str) -> Option<[SocketAddr; 3]> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")?.as_str()? != "ready" {
        return None;
    }
    let address = |door| fields.get(door)?.as_str()?.parse().ok();
    // Each listener stands under what it speaks; nobody has none.
    let clients = ["native", "websocket", "mqtt"]
        .into_iter()
        .find_map(address);
    Some([clients?, address("udp")?, address("admin")?])
}

/// The configuration with the defaults of tests where it says nothing.
fn complete(config: &str) -> String {
    let mut config: Table = config.parse().expect("a test's configuration is TOML");
    let defaults: Table = DEFAULTS.parse().expect("the defaults are TOML");
    let listener: Table = "name = 'native'\naddress = '127.0.0.1:0'"
        .parse()
        .expect("a listener is TOML");
    config
        .entry("listeners")
        .or_insert(Value::Array(vec![Value::Table(listener)]));
    for (section, keys) in defaults {
        let (Value::Table(given), Value::Table(keys)) = (
            config.entry(section).or_insert(Value::Table(Table::new())),
            keys,
        ) else {
            panic!("sections are tables");
        };
        for (key, value) in keys {
            given.entry(key).or_insert(value);
        }
    }
    config.to_string()
}
