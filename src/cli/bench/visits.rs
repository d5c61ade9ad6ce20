//! Visitors: clients that connect, wait for their session, and leave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::recorder::{Recorder, nanos};
use super::{crowd, load};
use crate::wire::frame::{ClientFrame, LENGTH_BYTES, WELCOME};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Visits in batches; how many of them got no session. Only a gateway, which has a recorder, hears
/// BYE.
pub(super) fn visits(
    server: SocketAddr,
    network: u8,
    count: usize,
    window: usize,
    mut recorder: Option<&mut Recorder>,
) -> anyhow::Result<u64> {
    let mut missed = 0;
    let (mut bytes, mut bye, mut visitors) = (Vec::new(), Vec::new(), Vec::new());
    ClientFrame::Bye.encode(&mut bye);
    for begin in (0..count).step_by(window) {
        for visit in begin..count.min(begin + window) {
            let start = Instant::now();
            let mut stream = crowd::connect(server, network, visit).context("a visitor")?;
            stream.set_read_timeout(Some(ANSWER))?;
            bytes.clear();
            load::hello(visit, &[], &mut bytes);
            stream.write_all(&bytes)?;
            visitors.push((start, stream));
        }
        for (start, stream) in &mut visitors {
            let welcome = greeted(stream);
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
