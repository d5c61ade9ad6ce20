//! Visitors: clients that connect, wait for their session, and leave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::recorder::{Recorder, nanos};
use super::speech::Speech;
use super::{crowd, load};
use crate::wire::frame::WELCOME;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Whom visitors visit.
#[derive(Clone, Copy)]
pub(super) struct Host {
    pub(super) server: SocketAddr,
    /// The source addresses of the visitors.
    pub(super) network: u8,
    pub(super) speech: Speech,
}

/// Those who have come and not left.
#[derive(Default)]
pub(super) struct Visitors {
    streams: Vec<TcpStream>,
    /// How many of them got no session.
    missed: u64,
}

/// Visits, so many at a time: all of those have come before the first of them leaves. How many got
/// no session.
pub(super) fn visits(
    host: Host,
    count: usize,
    window: usize,
    mut recorder: Option<&mut Recorder>,
) -> anyhow::Result<u64> {
    let mut missed = 0;
    for begin in (0..count).step_by(window) {
        let mut visitors = Visitors::default();
        let batch = begin..count.min(begin + window);
        visitors.come(host, batch, recorder.as_deref_mut())?;
        missed += visitors.leave(host)?;
    }
    Ok(missed)
}

impl Visitors {
    /// So many, some at a time; they stay.
    pub(super) fn all(host: Host, count: usize, window: usize) -> anyhow::Result<Self> {
        let mut visitors = Self::default();
        for begin in (0..count).step_by(window) {
            visitors.come(host, begin..count.min(begin + window), None)?;
        }
        Ok(visitors)
    }

    /// More come, by these numbers, all at once.
    fn come(
        &mut self,
        host: Host,
        batch: Range<usize>,
        mut recorder: Option<&mut Recorder>,
    ) -> anyhow::Result<()> {
        let (mut bytes, mut coming) = (Vec::new(), Vec::new());
        for visit in batch {
            let start = Instant::now();
            let stream = crowd::connect(host.server, host.network, visit);
            let mut stream = stream.context("a visitor")?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            bytes.clear();
            load::hello(visit, &[], &mut bytes);
            stream.write_all(&host.speech.opening(&bytes)?)?;
            coming.push((start, stream));
        }
        for (start, mut stream) in coming {
            self.missed += u64::from(!greeted(&mut stream, host.speech));
            if let Some(recorder) = &mut recorder {
                let took = nanos(start.elapsed()).max(1);
                recorder.messages.saturating_record(took);
            }
            self.streams.push(stream);
        }
        Ok(())
    }

    /// All of them leave; how many had got no session.
    pub(super) fn leave(self, host: Host) -> anyhow::Result<u64> {
        let bye = host.speech.bye();
        for mut stream in &self.streams {
            // Whoever was turned away may find nobody to say it to.
            if let Err(error) = stream.write_all(&bye)
                && self.missed == 0
            {
                return Err(error).context("a visitor");
            }
        }
        // The server ends its side as well; for all of them together, not one after the other.
        let began = Instant::now();
        for mut stream in &self.streams {
            anyhow::ensure!(began.elapsed() < ANSWER, "the server does not end its side");
            while stream.read(&mut [0; 256]).is_ok_and(|count| count != 0) {}
        }
        Ok(self.missed)
    }
}

fn greeted(stream: &mut TcpStream, speech: Speech) -> bool {
    let (mut parser, mut chunk, mut welcome) = (speech.parser(), [0; 512], false);
    while !welcome {
        let Ok(count @ 1..) = stream.read(&mut chunk) else {
            return false;
        };
        let mut frame = |body: &[u8]| welcome |= body.first() == Some(&WELCOME);
        if parser.feed(&chunk[..count], &mut frame).is_err() {
            return false;
        }
    }
    true
}
