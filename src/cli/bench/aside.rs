//! Load in a process of its own, on the load's core: the clients of the loop, those of a second
//! gateway, or one client that is measured amid the others.
//!
//! So each crowd has the descriptors of a process to itself, and reads with the same code. An order
//! is a line of JSON on its standard input, an answer one on its standard output. It ends when its
//! input ends, and the kernel ends it with its parent.

mod orders;
mod serve;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

pub(super) use orders::{Answer, Heard, Order, Secret};
pub(super) use serve::serve;

use super::child::Server;
use super::load::Cost;
use super::recorder::Recorder;

/// How long it may take to let go of what it holds, before it is killed.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// This process's end of it.
pub(super) struct Aside {
    process: Server,
    /// Taken only when it is to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Aside {
    /// Starts `program bench` in the mode that calls [`serve`]; before this process moves to a core
    /// of its own, since it starts a server on the other.
    pub(super) fn start(program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["bench", super::ASIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Server::start_anywhere(&mut command)?;
        let pipes = process.pipes();
        let orders = pipes.stdin.take().context("standard input is no pipe")?;
        let answers = pipes.stdout.take().context("standard output is no pipe")?;
        Ok(Self {
            process,
            orders: Some(orders),
            answers: BufReader::new(answers),
        })
    }

    /// Lets it do something; [`answer`](Self::answer) waits until it has.
    pub(super) fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(order).context("an order")?;
        line.push('\n');
        let orders = self.orders.as_mut().context("it was told to end")?;
        orders.write_all(line.as_bytes()).context(ENDED)
    }

    /// What it has done. `progress` hears of clients that have connected.
    pub(super) fn answer(&mut self, progress: &dyn Fn(u64)) -> anyhow::Result<Answer> {
        let mut line = String::new();
        loop {
            line.clear();
            let count = self.answers.read_line(&mut line).context(ENDED)?;
            anyhow::ensure!(count != 0, "{ENDED}");
            match serde_json::from_str(&line).context("what the load beside this one says")? {
                Answer::Connected(count) => progress(count),
                Answer::Failed(why) => anyhow::bail!("the load beside this one: {why}"),
                answer => return Ok(answer),
            }
        }
    }

    /// Lets it connect clients, and waits for them.
    pub(super) fn connect(&mut self, order: &Order, progress: &dyn Fn(u64)) -> anyhow::Result<()> {
        self.tell(order)?;
        self.answer(progress).map(drop)
    }

    /// Lets it do what costs something, and waits for what it cost.
    pub(super) fn measure(&mut self, order: &Order) -> anyhow::Result<Cost> {
        self.timed(order, &mut Recorder::default())
    }

    /// The same, where it also notes when the last client had each message.
    pub(super) fn timed(&mut self, order: &Order, recorder: &mut Recorder) -> anyhow::Result<Cost> {
        self.tell(order)?;
        match self.answer(&|_| {})? {
            Answer::Done(cost) => Ok(cost),
            Answer::Timed(cost, last) => {
                orders::add(&mut recorder.last, &last);
                Ok(cost)
            }
            _ => anyhow::bail!(OTHERWISE),
        }
    }

    /// How much memory of its server a client takes, in bytes.
    pub(super) fn resident(&mut self) -> anyhow::Result<u64> {
        self.tell(&Order::Resident)?;
        match self.answer(&|_| {})? {
            Answer::Bytes(bytes) => Ok(bytes),
            _ => anyhow::bail!(OTHERWISE),
        }
    }
}

const OTHERWISE: &str = "the load beside this one answers something else";
const ENDED: &str = "the load beside this one has ended";

impl Drop for Aside {
    /// Its input ends first, so that it ends what it has started itself.
    fn drop(&mut self) {
        self.orders = None;
        let deadline = Instant::now() + LEAVE_MAX;
        while matches!(self.process.pipes().try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
