//! A browser without a window, driven as WebDriver has it (W3C), over chromedriver.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{Process, await_line};

/// How long a command may take: a browser that has just started, on a busy machine.
const COMMAND_MAX: Duration = Duration::from_secs(90);
/// How long something may take to appear on a page.
const EVENTUALLY: Duration = Duration::from_secs(40);
/// What a browser needs to be quiet and alone, on a machine without a display or a user.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];
/// The name under which WebDriver hands out an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page. It ends, with all its processes, when it is dropped.
pub(crate) struct Browser {
    driver: Process,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes are those of the driver's group, and no others are.
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Browser {
    /// Starts one; `None`, with a line, where there is none and need not be.
    pub(crate) async fn start() -> Option<Self> {
        let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        let missing = ["chromium", "chromedriver"]
            .into_iter()
            .find(|program| !is_there(program));
        if let Some(missing) = missing {
            super::missing(missing);
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").process_group(0);
        // What it writes, it writes where it is deleted again.
        command
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path());
        let driver = Process::start(&mut command);
        let port = await_line(&driver.stdout, |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let mut browser = Self {
            driver,
            address: ([127, 0, 0, 1], port).into(),
            session: String::new(),
            _profile: profile,
        };
        let data = browser._profile.path().join("profile");
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", data.display()));
        let capabilities = json!({ "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }});
        let body = json!({ "capabilities": capabilities });
        let started = browser.ask("POST", "/session", Some(body)).await;
        browser.session = started["sessionId"].as_str().expect("an id").to_owned();
        Some(browser)
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        let body = (method == "POST").then_some(body);
        self.ask(method, &path, body).await
    }

    /// The value of an answer; a panic for an error.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = timeout(COMMAND_MAX, self.exchange(method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("not within {COMMAND_MAX:?}: {path}"));
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {value}");
        value
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> std::io::Result<Value> {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let (mut answer, mut chunk) = (Vec::new(), vec![0; 65_536]);
        loop {
            if let Some(body) = whole_body(&answer) {
                return Ok(serde_json::from_slice(body)?);
            }
            match stream.read(&mut chunk).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => answer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Opens a page.
    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "url", json!({ "url": url })).await;
    }

    /// What a script returns; `arguments` are its `arguments`.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.command("POST", "execute/sync", body).await
    }

    /// Waits until a script returns something that `wanted` takes, and returns that.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: &str,
        script: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let deadline = tokio::time::Instant::now() + EVENTUALLY;
        async move {
            loop {
                let value = self.run(script, json!([])).await;
                if wanted(&value) {
                    return value;
                }
                if tokio::time::Instant::now() > deadline {
                    let said = self.messages().await;
                    panic!("not within {EVENTUALLY:?}: {what}: {value}; the console: {said:?}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// The text of an element, as soon as `wanted` takes it.
    pub(crate) async fn text(&self, selector: &str, wanted: impl Fn(&str) -> bool) -> String {
        let selector = json!(selector);
        let script = format!("return document.querySelector({selector})?.textContent ?? ''");
        let is_wanted = |value: &Value| value.as_str().is_some_and(&wanted);
        let what = format!("the text of {selector}");
        let text = self.until(&what, &script, is_wanted).await;
        text.as_str().expect("a text").to_owned()
    }

    async fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "element", body).await;
        let id = found[ELEMENT].as_str();
        id.unwrap_or_else(|| panic!("no {selector}: {found}"))
            .to_owned()
    }

    /// Clicks as a user does: on what is shown, and not covered.
    pub(crate) async fn click(&self, selector: &str) {
        let id = self.element(selector).await;
        let path = format!("element/{id}/click");
        self.command("POST", &path, json!({})).await;
    }

    /// Types into a field that is emptied before.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let id = self.element(selector).await;
        self.command("POST", &format!("element/{id}/clear"), json!({}))
            .await;
        let body = json!({ "text": text });
        self.command("POST", &format!("element/{id}/value"), body)
            .await;
    }

    /// Presses keys on whatever has the focus, one after the other.
    pub(crate) async fn press(&self, keys: &str) {
        let presses = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let presses: Vec<_> = presses.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": presses });
        self.command("POST", "actions", json!({ "actions": [keyboard] }))
            .await;
    }

    /// Asks the browser itself for something (Chrome's own protocol).
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("POST", "goog/cdp/execute", body).await;
    }

    /// What the console has said since the last look: errors, and what the policy has refused.
    pub(crate) async fn messages(&self) -> Vec<String> {
        let log = self
            .command("POST", "se/log", json!({ "type": "browser" }))
            .await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// The body of an answer that is there whole.
fn whole_body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end])
        .ok()?
        .to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let length: usize = length.trim().parse().ok()?;
    answer.get(end + 4..end + 4 + length)
}
