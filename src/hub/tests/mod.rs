//! The hub over a fake sink: no socket, no runtime.

mod behaviour;
mod choosy;
mod commands;
mod encodings;
mod ends;
mod history;
mod jobs;
mod kept;
mod keys;
mod model;
mod replay;
mod threads;
mod unheard;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pump::{Pump, Pumped};
use super::session::Session;
use super::{Appended, Attach, Closing, Due, Hub, Options, Push, Sink, Target};
use crate::metrics::Metrics;
use crate::sync::lock;
use crate::wire::encoding::Encoding;
use crate::wire::frame::{GatewayFrame, Scope, split};
use crate::wire::reply::Counts;
use crate::wire::websocket::put_message;

/// Takes as many bytes as it is allowed, and remembers them.
#[derive(Default)]
pub(super) struct FakeSink(Mutex<FakeState>, Encoding);

#[derive(Default)]
struct FakeState {
    /// Bytes that it still takes; `None` for any number.
    room: Option<usize>,
    /// Fails from now on, as a socket whose peer has reset.
    broken: bool,
    taken: Vec<u8>,
}

impl FakeSink {
    /// One for the device of this name: WebSocket where it has one, so that the two stand side by
    /// side in what follows.
    pub(super) fn of(device: &str) -> Self {
        let encoding = match device {
            "" => Encoding::Native,
            _ => Encoding::WebSocket,
        };
        Self(Mutex::default(), encoding)
    }

    /// The first whole frame of these bytes as type and fields, and how many bytes it takes.
    fn split<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
        if self.1 == Encoding::Native {
            return split(bytes, 1 << 20).expect("well-formed");
        }
        let (head, length) = match *bytes {
            [0x82, 126, high, low, ..] => (4, u16::from_be_bytes([high, low]).into()),
            [0x82, 127, ..] => panic!("longer than any here"),
            [0x82, length, ..] => (2, usize::from(length)),
            [] | [0x82] => return None,
            _ => panic!("no binary message: {bytes:02x?}"),
        };
        bytes
            .get(head..head + length)
            .map(|body| (body, head + length))
    }

    /// Type and fields of a frame.
    pub(super) fn body(&self, frame: [&[u8]; 2]) -> Vec<u8> {
        self.split(&frame.concat())
            .expect("a whole frame")
            .0
            .to_vec()
    }

    pub(super) fn set_room(&self, room: Option<usize>) {
        lock(&self.0).room = room;
    }

    pub(super) fn break_off(&self) {
        lock(&self.0).broken = true;
    }

    /// Every whole frame taken so far; half a frame at the end is left out.
    pub(super) fn frames(&self) -> Vec<Seen> {
        let state = lock(&self.0);
        let (mut rest, mut frames) = (&state.taken[..], Vec::new());
        while let Some((body, used)) = self.split(rest) {
            frames.push(Seen::of(&GatewayFrame::decode(body).expect("well-formed")));
            rest = &rest[used..];
        }
        frames
    }

    /// The bodies of the whole frames taken so far.
    pub(super) fn whole_frames(&self) -> Vec<Vec<u8>> {
        let state = lock(&self.0);
        let (mut rest, mut frames) = (&state.taken[..], Vec::new());
        while let Some((body, used)) = self.split(rest) {
            frames.push(body.to_vec());
            rest = &rest[used..];
        }
        frames
    }

    /// The pushes among them.
    pub(super) fn pushes(&self) -> Vec<(Scope, String, Vec<u8>)> {
        let pushes = self.frames().into_iter().filter_map(|frame| match frame {
            Seen::Push(scope, group, payload) => Some((scope, group, payload)),
            Seen::Other(_) => None,
        });
        pushes.collect()
    }
}

/// A frame as a client saw it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Push(Scope, String, Vec<u8>),
    Other(String),
}

impl Seen {
    fn of(frame: &GatewayFrame<'_>) -> Self {
        match frame {
            GatewayFrame::Push {
                scope,
                group,
                payload,
                ..
            } => Self::Push(*scope, (*group).into(), payload.to_vec()),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

impl Sink for FakeSink {
    fn encoding(&self, _: &Due<'_>) -> Option<Encoding> {
        Some(self.1)
    }

    fn answer(&self, frame: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        match self.1 {
            Encoding::Native => frame.encode(out),
            Encoding::WebSocket | Encoding::Mqtt(_) => put_message(out, frame),
        }
    }

    fn close(&self, closing: &Closing<'_>, out: &mut Vec<u8>) -> bool {
        let close = closing.frame();
        close.inspect(|close| self.answer(close, out)).is_some()
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        let count = state.room.map_or(offered, |room| room.min(offered));
        if count == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Some(room) = &mut state.room {
            *room -= count;
        }
        let mut left = count;
        for part in parts {
            let here = left.min(part.len());
            state.taken.extend_from_slice(&part[..here]);
            left -= here;
        }
        Ok(count)
    }
}

pub(super) fn options() -> Options {
    Options {
        max_devices: 8,
        max_groups: 8,
        queue_messages: 1024,
        queue_bytes: 1 << 20,
        queue_age: Duration::from_secs(10),
        memory_budget: 1 << 30,
        retry_spread: Duration::from_secs(10),
        max_frame: 65_512,
        history_messages: 1000,
        history_bytes: 1 << 20,
        remember_groups: Duration::from_secs(300),
    }
}

pub(super) struct Bench {
    pub(super) hub: Hub,
    pub(super) start: Instant,
}

type FakeSession = Arc<Session<FakeSink>>;

impl Bench {
    pub(super) fn new(options: Options) -> Self {
        let start = Instant::now();
        Self {
            hub: Hub::new(options, Arc::new(Metrics::new()), 1, start),
            start,
        }
    }

    pub(super) fn cx(&self) -> Pump {
        Pump::new(self.start)
    }

    /// A client that has come in and has read its greeting.
    pub(super) fn attach(&self, user: &str, device: &str, groups: &[&str]) -> FakeSession {
        let attach = Attach {
            user,
            device,
            groups,
            refused: &[],
            heartbeat_s: 30,
            resume: None,
            ..Attach::default()
        };
        let attached = self.hub.attach(&attach, FakeSink::of(device), &self.cx());
        let session = attached.map_err(|(error, _)| error).expect("there is room");
        assert_eq!(self.pump(&session), Pumped::Level);
        session
    }

    /// What the client's own task does when its socket is writable.
    pub(super) fn pump(&self, session: &FakeSession) -> Pumped {
        loop {
            match self.hub.pump(session, &mut self.cx()) {
                Pumped::More => {}
                done => return done,
            }
        }
    }

    pub(super) fn append(&self, targets: &[Target<'_>], payload: &[u8]) -> Appended {
        let push = Push {
            targets,
            exceptions: &[],
            payload,
            ..Push::default()
        };
        self.hub.append(&push, self.start).expect("there is room")
    }

    /// Appends and walks to the end.
    pub(super) fn push(&self, targets: &[Target<'_>], payload: &[u8]) -> Counts {
        self.finish(self.append(targets, payload))
    }

    pub(super) fn finish(&self, appended: Appended) -> Counts {
        match appended {
            Appended::Nobody(_) => Counts::default(),
            Appended::Walk(mut walk) => walk.finish(&self.hub, &mut self.cx()),
        }
    }
}

pub(super) fn counts(matched: u32, written: u32, waiting: u32, refused: u32) -> Counts {
    Counts {
        matched,
        written,
        waiting,
        refused,
    }
}
