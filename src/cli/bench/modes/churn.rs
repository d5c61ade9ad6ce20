//! Clients that come, get their session, and leave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::super::Bench;
use super::super::crowd;
use super::super::load::{self, Cost};
use super::super::recorder::{Recorder, nanos};
use super::super::report::Report;
use super::super::rig::Rig;
use super::{Kind, rounds};
use crate::cli::exit::Failure;
use crate::wire::frame::{ClientFrame, LENGTH_BYTES, WELCOME};

/// Visits of a round.
const VISITS: usize = 4_000;
/// The loop's visits are so many times more: they cost few of the kernel's ticks.
const CHEAPER: usize = 5;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// What a session still does when its client has seen the end: its CPU time belongs to the visit.
const TAIL: Duration = Duration::from_millis(50);

pub(in super::super) fn churn(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, 0)?;
    let count = bench.messages(VISITS);
    let window = bench.window;
    let looped = |rig: &mut Rig, _: &mut Recorder| {
        let Some(floor) = &mut rig.floor else {
            return Ok(Cost::default());
        };
        let server = floor.floor.native;
        let mut cost = floor.measured(|floor| {
            floor.floor.churn(CHEAPER * count)?;
            visits(server, CHEAPER * count, window, None)?;
            floor.floor.wait()
        })?;
        cost.deliveries = (CHEAPER * count) as u64;
        Ok(cost)
    };
    let visited = |rig: &mut Rig, recorder: &mut Recorder| {
        let server = rig.native;
        let mut cost = rig.load.measured(|_| {
            let missed = visits(server, count, window, Some(recorder))?;
            std::thread::sleep(TAIL);
            Ok(missed)
        })?;
        cost.deliveries = count as u64 - cost.missed;
        Ok(cost)
    };
    let kinds: [Kind<'_>; 2] = [("loop", &looped), ("gateway", &visited)];
    let kinds = &kinds[usize::from(!bench.floor)..];
    let title = format!("visits, {window} at a time: connect, HELLO, WELCOME, leave");
    let mut report = bench.report(&title, "visit");
    if bench.floor {
        report.ratios.push(("gateway / loop", 1, 0));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![("from connect to WELCOME", recorder.messages)];
    let rate = total.deliveries as f64 / total.elapsed.as_secs_f64();
    report.figures.push(("visits a second", rate, ""));
    report.count("visits", total.deliveries);
    report.count("missed", total.missed);
    Ok((report, total.missed))
}

/// Visits in batches; how many of them got no session. Only a gateway, which has a recorder, hears
/// BYE.
fn visits(
    server: SocketAddr,
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
            let mut stream = crowd::connect(server, visit).context("a visitor")?;
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
