//! `pushgate listen`: a client for people.

mod place;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::args;
use super::backoff::Backoff;
use super::client::{Advice, Ended, Event, Identity, Place};
use super::exit::{CommandResult, Exit, Failure};
use super::mqtt::Credential;
use super::output::{self, payload_line, printable};
use super::secure::{self, Door, Secure, TlsArgs};
use super::signals::Signals;
use crate::wire::frame::{self, Scope, Welcome};
use place::PlaceFile;

/// Bytes of a token: its length is 16 bits.
const TOKEN_BYTES_MAX: usize = 65_535;
/// The environment variable with a token: a command line is everybody's to read.
const TOKEN_VARIABLE: &str = "PUSHGATE_TOKEN";
/// Groups of a HELLO: their number is one byte.
const GROUPS_MAX: usize = 255;

/// Connect as a client and print what arrives
///
/// Comes back when the connection is lost: with full jitter of 1 s doubling to 60 s, or when the
/// gateway says. Ends with 1 where the gateway says not to come back, and says BYE at Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate listen --user ada --group news
  pushgate listen --user ada --device phone --count 1 --json
  pushgate listen --to gateway:7400 --token-file ada.token
  pushgate listen --to gateway:7443 --tls --user ada
  pushgate listen --to 127.0.0.1:7402 --ws --user ada
  pushgate listen --to 127.0.0.1:1883 --mqtt --user ada --device phone
  pushgate listen --user ada --device phone --resume ada.place

Exit codes: 0 left by --count or a signal, 1 lost, 2 usage, 64 a file that cannot be used.")]
pub(super) struct Listen {
    /// Who to be: with auth.mode "none" the token is the user name
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: Option<String>,
    /// Which device of the user; a second connection of one device replaces the first [default: the
    /// device without a name]
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = args::device)]
    device: String,
    /// A group to be in; may be given up to 255 times
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: Vec<String>,
    /// The gateway's address for clients, HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value = args::GATEWAY)]
    to: String,
    /// A file with the token, instead of the user name; it is read anew for every connection
    /// [default without --user: the token in the environment variable PUSHGATE_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Speak WebSocket, with --tls under TLS; PATH is for a proxy that has the gateway there
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "/", value_parser = path)]
    ws: Option<String>,
    /// Speak MQTT 5, with --tls under TLS: --user is the user name, a token the password. After a
    /// lost connection the gateway goes on where it was, for one with a --device
    #[arg(long, conflicts_with_all = ["ws", "resume"])]
    mqtt: bool,
    /// Go on from the place in the log that this file tells, and keep it there: after each kept
    /// message that is printed. Where the file is not there yet, it begins with everything that is
    /// kept. One process at a time
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Print one JSON object for each event instead of words
    #[arg(long)]
    json: bool,
    /// Leave after so many messages [default: stay]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Do not come back when the connection is lost
    #[arg(long)]
    once: bool,
}

/// How one connection ended, when it did not end the command.
struct Lost {
    ended: Ended,
    connected: Duration,
}

/// What outlives a connection.
struct Listener<'a> {
    args: &'a Listen,
    address: SocketAddr,
    secure: Option<Secure>,
    /// Where it was, once it was somewhere.
    place: Option<Place>,
    file: Option<PlaceFile>,
    messages: u64,
}

impl Listen {
    pub(super) fn run(self) -> CommandResult {
        if self.group.len() > GROUPS_MAX {
            let count = self.group.len();
            return Err(Failure::usage(format!(
                "{count} groups exceed {GROUPS_MAX}"
            )));
        }
        args::runtime()?.block_on(async {
            let mut signals = Signals::listen()?;
            let file = self.resume.as_deref().map(PlaceFile::open);
            let file = file.transpose().map_err(Failure::configuration)?;
            let address = args::resolve(&self.to).await?;
            let mut listener = Listener {
                args: &self,
                address,
                secure: self.tls.secure(&self.to)?,
                place: file.as_ref().map(PlaceFile::place),
                file,
                messages: 0,
            };
            listener.stay(&mut signals).await
        })
    }

    fn door(&self) -> Door<'_> {
        let is_user = self.token_file.is_none() && self.user.is_some();
        match &self.ws {
            Some(path) => Door::Web(&self.to, path),
            None if self.mqtt && is_user => Door::Mqtt(Credential::User),
            None if self.mqtt => Door::Mqtt(Credential::Password),
            None => Door::Native,
        }
    }

    fn token(&self) -> Result<Vec<u8>, Failure> {
        match (&self.token_file, &self.user) {
            (Some(path), _) => {
                let token = args::read_token(path).and_then(|token| checked(&token));
                token.map_err(Failure::configuration)
            }
            (None, Some(user)) => Ok(user.clone().into_bytes()),
            (None, None) => {
                let text = std::env::var(TOKEN_VARIABLE).map_err(|_| {
                    let what = "none of --user, --token-file and";
                    Failure::usage(format!("{what} {TOKEN_VARIABLE} says who to be"))
                })?;
                checked(&text).map_err(Failure::configuration)
            }
        }
    }
}

impl Listener<'_> {
    /// Connects, and connects again, until there is a reason not to.
    async fn stay(&mut self, signals: &mut Signals) -> CommandResult {
        let mut backoff = Backoff::default();
        loop {
            let token = self.args.token()?;
            let Some(Lost { ended, connected }) = self.session(token.clone(), signals).await?
            else {
                return Ok(Exit::Ok);
            };
            backoff.lost_after(connected);
            let wait = match ended.advice() {
                Advice::Stay => None,
                Advice::NewToken if self.args.token()? == token => None,
                _ if self.args.once => None,
                Advice::NewToken | Advice::Jitter => Some(backoff.wait(&mut rand::rng())),
                Advice::After(wait) => Some(wait),
            };
            self.tell_lost(&ended, wait)?;
            let Some(wait) = wait else {
                return Err(anyhow::Error::new(ended).into());
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = signals.next() => return Ok(Exit::Ok),
            }
        }
    }

    /// One connection, until it is lost, or (nothing) until the count is full or a signal comes.
    async fn session(
        &mut self,
        token: Vec<u8>,
        signals: &mut Signals,
    ) -> Result<Option<Lost>, Failure> {
        let identity = Identity {
            token,
            device: self.args.device.clone(),
            groups: self.args.group.clone(),
            heartbeat_s: 0,
            place: self.place,
        };
        let how = (self.secure.as_ref(), self.args.door());
        let connected = tokio::select! {
            connected = secure::connect(self.address, how, &identity) => connected,
            () = signals.next() => return Ok(None),
        };
        let mut client = match connected {
            Ok(client) => client,
            Err(ended) => {
                return Ok(Some(Lost {
                    ended,
                    connected: Duration::ZERO,
                }));
            }
        };
        let connected_at = Instant::now();
        let welcome = *client.welcome();
        self.tell_connected(&welcome)?;
        let mut place = Place {
            epoch: welcome.epoch,
            cursor: welcome.cursor,
        };
        self.set_place(place)?;
        loop {
            let event = tokio::select! {
                event = client.next() => event,
                () = signals.next() => {
                    client.bye().await;
                    return Ok(None);
                }
            };
            let event = match event {
                Ok(event) => event,
                Err(ended) => {
                    return Ok(Some(Lost {
                        ended,
                        connected: connected_at.elapsed(),
                    }));
                }
            };
            match event {
                // Delivery of kept messages is at least once over reconnects. It was handled then,
                // and is confirmed once more: MQTT holds what is not, and a slot of its window.
                Event::Push { number, .. } if number != 0 && number <= place.cursor => {
                    client.ack(number);
                    continue;
                }
                // It is handled when it is printed and its place is kept: then it is confirmed.
                Event::Push { number, .. } if number != 0 => {
                    self.tell(&event)?;
                    place.cursor = number;
                    self.set_place(place)?;
                    client.ack(number);
                }
                Event::Current(cursor) => {
                    self.tell(&event)?;
                    place.cursor = place.cursor.max(cursor);
                    self.set_place(place)?;
                }
                _ => self.tell(&event)?,
            }
            if matches!(event, Event::Push { .. }) {
                self.messages += 1;
                if Some(self.messages) == self.args.count {
                    client.bye().await;
                    return Ok(None);
                }
            }
        }
    }

    /// Where it is now, also for the next process.
    fn set_place(&mut self, place: Place) -> Result<(), Failure> {
        self.place = Some(place);
        match &mut self.file {
            Some(file) => file.set(place).map_err(Failure::configuration),
            None => Ok(()),
        }
    }

    fn tell(&self, event: &Event) -> Result<(), Failure> {
        if self.args.json {
            return output::line(event_object(event).to_string());
        }
        event_words(event).map_or(Ok(()), output::line)
    }

    fn tell_connected(&self, welcome: &Welcome) -> Result<(), Failure> {
        let is_gap = self.place.is_some() && !welcome.resumed;
        if is_gap {
            output::note(
                "pushgate: not resumed: kept messages may be missing; fetch the state anew",
            );
        }
        if self.args.json {
            output::line(welcome_object(welcome).to_string())?;
            return match is_gap {
                true => output::line(gap_object(welcome).to_string()),
                false => Ok(()),
            };
        }
        let again = match (self.place, welcome.resumed) {
            (None, _) => "",
            (Some(Place { epoch: 0, .. }), true) => ", from the oldest message that is kept",
            (Some(_), true) => ", going on where it was",
            (Some(_), false) => ", without what was pushed in between",
        };
        output::line(format!(
            "connected to {}: session {}, heartbeat {} s{again}",
            self.address, welcome.session, welcome.heartbeat_s
        ))
    }

    fn tell_lost(&self, ended: &Ended, wait: Option<Duration>) -> Result<(), Failure> {
        if self.args.json {
            return output::line(lost_object(ended, wait).to_string());
        }
        match wait {
            Some(wait) => {
                let seconds = wait.as_secs_f64();
                output::line(format!("{ended}; coming back in {seconds:.1} s"))
            }
            // It goes to standard error as the reason of the exit code.
            None => Ok(()),
        }
    }
}

/// Where a WebSocket is, as it stands in a request.
fn path(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '#';
    match text.starts_with('/') && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("not a path such as / or /push".to_owned()),
    }
}

fn checked(text: &str) -> anyhow::Result<Vec<u8>> {
    let token = text.trim();
    if token.len() > TOKEN_BYTES_MAX {
        anyhow::bail!("token of {} bytes exceeds {TOKEN_BYTES_MAX}", token.len());
    }
    Ok(token.into())
}

/// A line for people, if the event is for them.
fn event_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Push {
            number,
            scope,
            group,
            payload,
        } => {
            let group = if *scope == Scope::Group {
                format!(" {group}")
            } else {
                String::new()
            };
            let number = if *number != 0 {
                format!(" #{number}")
            } else {
                String::new()
            };
            format!("{scope}{group}{number}: {}", payload_line(payload))
        }
        Event::Joined(group) => format!("joined {group}"),
        Event::Left(group) => format!("left {group}"),
        Event::Refused {
            frame_type,
            code,
            group,
        } => {
            format!(
                "refused {} {group}: {code} (code {})",
                frame_word(*frame_type),
                code.code()
            )
        }
        Event::Current(_) => return None,
    })
}

fn event_object(event: &Event) -> Value {
    match event {
        Event::Push {
            number,
            scope,
            group,
            payload,
        } => {
            let mut object = json!({ "event": "push", "number": number, "scope": scope.word() });
            if *scope == Scope::Group {
                object["group"] = json!(group);
            }
            // Text as it is, tabs and line ends escaped by JSON; everything else exactly, in hex.
            match printable(payload) {
                Some(text) => object["payload"] = json!(text),
                None => object["payload_hex"] = json!(output::hex(payload)),
            }
            object
        }
        Event::Joined(group) => json!({ "event": "joined", "group": group }),
        Event::Left(group) => json!({ "event": "left", "group": group }),
        Event::Refused {
            frame_type,
            code,
            group,
        } => json!({
            "event": "refused",
            "frame": frame_word(*frame_type),
            "group": group,
            "code": code.code(),
            "reason": code.word(),
        }),
        Event::Current(cursor) => json!({ "event": "current", "cursor": cursor }),
    }
}

fn welcome_object(welcome: &Welcome) -> Value {
    json!({
        "event": "connected",
        "session": welcome.session,
        "resumed": welcome.resumed,
        "heartbeat_s": welcome.heartbeat_s,
        "max_frame": welcome.max_frame,
        "epoch": welcome.epoch,
        "cursor": welcome.cursor,
    })
}

/// What was asked for was not granted: from where it goes on instead.
fn gap_object(welcome: &Welcome) -> Value {
    json!({ "event": "gap", "epoch": welcome.epoch, "cursor": welcome.cursor })
}

fn lost_object(ended: &Ended, wait: Option<Duration>) -> Value {
    let retry_ms = wait.map(|wait| wait.as_millis() as u64);
    let mut object = json!({ "event": "lost", "cause": ended.to_string(), "retry_ms": retry_ms });
    if let Ended::Closed { code, reason, .. } = ended {
        object["event"] = json!("closed");
        object["code"] = json!(code.code());
        object["word"] = json!(code.word());
        object["reason"] = json!(reason);
    }
    object
}

fn frame_word(frame_type: u8) -> &'static str {
    match frame_type {
        frame::HELLO => "hello",
        frame::JOIN => "join",
        frame::LEAVE => "leave",
        frame::TOKEN => "token",
        _ => "frame",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::reason::CloseCode;

    fn push(number: u64, scope: Scope, group: &str, payload: &'static [u8]) -> Event {
        Event::Push {
            number,
            scope,
            group: group.to_owned(),
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn a_push_is_one_line_that_says_whom_it_was_for() {
        let words = |event| event_words(&event).unwrap();
        assert_eq!(words(push(0, Scope::All, "", b"hello\n")), "all: hello\\n");
        assert_eq!(words(push(0, Scope::User, "", b"")), "user: ");
        assert_eq!(
            words(push(42, Scope::Group, "news", b"\0\xff")),
            "group news #42: 0x00ff (2 bytes)"
        );
    }

    #[test]
    fn json_keeps_every_byte_of_a_payload() {
        let text = event_object(&push(0, Scope::Group, "news", "grüße\n".as_bytes()));
        assert_eq!(text["payload"], "grüße\n");
        assert_eq!(text["group"], "news");
        let bytes = event_object(&push(0, Scope::All, "", &[0; 100]));
        assert_eq!(bytes["payload_hex"], "00".repeat(100));
        assert!(bytes.get("payload").is_none() && bytes.get("group").is_none());
    }

    #[test]
    fn a_close_tells_its_code_and_when_the_client_comes_back() {
        let ended = Ended::Closed {
            code: CloseCode::Draining,
            retry_after_ms: 2500,
            reason: "bye".to_owned(),
        };
        let object = lost_object(&ended, Some(Duration::from_millis(2500)));
        assert_eq!(object["event"], "closed");
        assert_eq!(
            (&object["code"], &object["retry_ms"]),
            (&json!(1), &json!(2500))
        );
        assert_eq!(lost_object(&Ended::Eof, None)["retry_ms"], Value::Null);
    }
}
