//! Visitors: clients that connect, wait for their session, and leave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::parser::Parser;
use super::recorder::{Recorder, nanos};
use super::{crowd, load, web};
use crate::wire::frame::{ClientFrame, LENGTH_BYTES, WELCOME};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Visits in batches, over WebSocket or not; how many of them got no session. Only a gateway, which
/// has a recorder, hears BYE.
pub(super) fn visits(
    (server, network, is_web): (SocketAddr, u8, bool),
    count: usize,
    window: usize,
    mut recorder: Option<&mut Recorder>,
) -> anyhow::Result<u64> {
    let mut missed = 0;
    let (mut bytes, mut bye, mut visitors) = (Vec::new(), Vec::new(), Vec::new());
    ClientFrame::Bye.encode(&mut bye);
    if is_web {
        bye = web::message(&bye);
    }
    for begin in (0..count).step_by(window) {
        for visit in begin..count.min(begin + window) {
            let start = Instant::now();
            let mut stream = crowd::connect(server, network, visit).context("a visitor")?;
            stream.set_read_timeout(Some(ANSWER))?;
            bytes.clear();
            load::hello(visit, &[], &mut bytes);
            if is_web {
                bytes = web::opening(&bytes);
            }
            stream.write_all(&bytes)?;
            visitors.push((start, stream));
        }
        for (start, stream) in &mut visitors {
            let welcome = match is_web {
                true => greeted_web(stream),
                false => greeted(stream),
            };
            missed += u64::from(!welcome);
            if let Some(recorder) = &mut recorder {
                let took = nanos(start.elapsed()).max(1);
                recorder.messages.saturating_record(took);
                if welcome {
                    stream.write_all(&bye)?;
                }
            }
        }
        // The server ends its side as well; for all of the batch together, not one after the other.
        for (_, mut stream) in visitors.drain(..) {
            while stream.read(&mut [0; 256]).is_ok_and(|count| count != 0) {}
        }
    }
    Ok(missed)
}

fn greeted(stream: &mut TcpStream) -> bool {
    let mut head = [0; LENGTH_BYTES + 1];
    stream.read_exact(&mut head).is_ok() && head[LENGTH_BYTES] == WELCOME
}

fn greeted_web(stream: &mut TcpStream) -> bool {
    let (mut parser, mut chunk, mut welcome) = (Parser::web(), [0; 512], false);
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
