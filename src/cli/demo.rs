//! `pushgate demo`: the whole of it, on one machine, without set-up.
//!
//! A gateway, its clients and a sender run in this process and talk over real sockets. What the
//! tasks of the gateway do is read where an operator reads it: at /metrics.

mod crowd;
mod tasks;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::crowd::{Crowd, GROUP, PUSHES, user};
use self::tasks::Tasks;
use super::exit::{CommandResult, Exit, Failure};
use super::output::{self, counted};
use super::report;
use super::sender::Sender;
use crate::daemon::settings::Settings;
use crate::daemon::{Addresses, Gateway};
use crate::wire::datagram::{Op, ReplyMode, RequestBody, Target};
use crate::wire::reason::Status;

/// Both ends of a connection are in this process.
const DESCRIPTORS_PER_CLIENT: u64 = 2;
/// For the doors, the runtime, standard streams, the reserve of the gateway, and what is read of
/// it.
const DESCRIPTORS_BESIDE: u64 = 256;
/// How long a push may take to reach everybody before the demonstration calls it missed.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(20);
/// How long the gateway's tasks may take to be back at the baseline.
const BASELINE_DEADLINE: Duration = Duration::from_secs(10);
/// How often something that has no event to wait for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// See it work: a gateway, clients and a sender in one process, over real sockets
///
/// Connects the clients, half of them in a group, pushes to one user, to the group, to all, and to
/// all but the group; shows for each push who was matched, how many clients saw it and when, and
/// what the sender was answered; then lets the clients leave and shows that every task of the
/// gateway has ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate demo --clients 5000

Exit codes: 0 everything arrived and every task ended, 1 something was missed, 2 usage.")]
pub(super) struct Demo {
    /// Clients to connect, 2 to 20000; each takes two descriptors of this process
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=20_000))]
    clients: u32,
}

/// A push of the demonstration, and how many clients it is for.
struct Plan<'a> {
    name: String,
    targets: Vec<Target<'a>>,
    expected: u32,
}

impl Demo {
    pub(super) fn run(self) -> CommandResult {
        raise_descriptor_limit(self.clients)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("cannot start the runtime")?;
        let exit = runtime.block_on(Box::pin(demonstrate(self.clients)));
        runtime.shutdown_background();
        exit
    }
}

async fn demonstrate(clients: u32) -> CommandResult {
    let gateway = Gateway::bind(settings())
        .await
        .context("the gateway did not start")?;
    let addresses = *gateway.addresses();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = Box::pin(gateway.run(async {
        let _ = stopped.await;
    }));
    let story = async {
        let exit = Box::pin(tell(clients, &addresses)).await;
        let _ = stop.send(());
        exit
    };
    let (ended, exit) = tokio::join!(run, story);
    ended.context("the gateway failed")?;
    exit
}

/// The defaults, on ports that the kernel chooses, and gone at once at the end.
fn settings() -> Settings {
    let mut settings = Settings::default();
    for listener in &mut settings.listeners {
        listener.address.set_port(0);
    }
    settings.udp.listen.set_port(0);
    settings.admin.listen.set_port(0);
    settings.drain.linger = Duration::ZERO;
    settings
}

async fn tell(clients: u32, addresses: &Addresses) -> CommandResult {
    say(&format!(
        "A gateway, {clients} clients and a sender, in this process, over real sockets.\n\n\
         1. The gateway listens: for clients on {}, for senders on {} (UDP),\n   \
         and for you on http://{}/ while this runs.",
        addresses.clients, addresses.udp, addresses.admin
    ))?;
    let mut sender = ready(addresses.udp).await?;
    let before = Tasks::read(addresses.admin).await?;

    say(&format!(
        "\n2. {clients} clients connect, and half of them are in the group \"{GROUP}\"."
    ))?;
    let crowd = connect(clients, addresses.clients).await?;

    say("\n3. A sender pushes, one datagram each, and is answered what became of it.\n")?;
    let somebody = user(1);
    let plans = plans(clients, &somebody);
    let complete = push_all(&mut sender, &crowd, &plans).await?;
    let during = Tasks::read(addresses.admin).await?;

    say("\n4. The clients leave. These are the gateway's tasks, as /metrics tells them:\n")?;
    let left = crowd.leave().await;
    let after = settle(addresses.admin, &before).await?;
    say(&tasks::table(&before, &during, &after))?;
    if let Some(why) = left.why {
        say(&format!(
            "\n{} lost the connection; the first one: {why}",
            counted(left.lost as u64, "client")
        ))?;
    }

    // Once more, now that nothing can arrive any more: nobody has seen a push twice.
    let once = left
        .seen
        .iter()
        .zip(&plans)
        .all(|(seen, plan)| seen.count == plan.expected);
    let (complete, level) = (complete && once && left.lost == 0, after == before);
    say(&verdict(complete, level))?;
    Ok(if complete && level {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// A sender whom the gateway has answered once: a gateway that has only just started calls
/// datagrams stale, and no push shall be measured with that.
async fn ready(address: SocketAddr) -> Result<Sender, Failure> {
    let mut sender = Sender::connect(address, None)
        .await
        .context("cannot open a socket")?;
    let outcome = sender.request(&RequestBody::Ping(b"ready?")).await;
    let outcome = outcome.context("the gateway does not answer a ping")?;
    if outcome.status != Status::Done {
        let words = report::words(Op::Ping, &outcome);
        return Err(anyhow::anyhow!("the gateway answered a ping with {words}").into());
    }
    Ok(sender)
}

async fn connect(clients: u32, address: SocketAddr) -> Result<Crowd, Failure> {
    let style = ProgressStyle::with_template("   {bar:40} {pos}/{len} connected");
    let style = style.context("the progress bar's template")?;
    // Shown on standard error, and only on a terminal.
    let bar = ProgressBar::new(clients.into()).with_style(style);
    let start = Instant::now();
    let crowd = Crowd::connect(clients, address, || bar.inc(1)).await;
    bar.finish_and_clear();
    let crowd = crowd.context("a client did not get its session")?;
    say(&format!(
        "   All of them are connected after {:.1} s.",
        start.elapsed().as_secs_f64()
    ))?;
    Ok(crowd)
}

/// Pushes each plan and shows its line; whether each was done and seen by all it was for.
async fn push_all(sender: &mut Sender, crowd: &Crowd, plans: &[Plan<'_>]) -> Result<bool, Failure> {
    say(&format!(
        "   {:<22}{:>8}{:>9}{:>11}{:>11}   the sender's answer",
        "to", "matched", "seen by", "first", "last"
    ))?;
    let mut complete = true;
    for (plan, payload) in plans.iter().zip(PUSHES) {
        let start = Instant::now();
        let body = RequestBody::Push {
            reply: ReplyMode::One,
            collapse: b"",
            ttl_s: 0,
            spread_ms: 0,
            targets: &plan.targets,
            payload: payload.as_bytes(),
        };
        let outcome = sender
            .request(&body)
            .await
            .context("a push was not answered")?;
        let seen = crowd
            .seen(payload, plan.expected, start + ARRIVAL_DEADLINE)
            .await;
        complete &= outcome.status == Status::Done
            && outcome.counts.matched == plan.expected
            && seen.count == plan.expected;
        say(&format!(
            "   {:<22}{:>8}{:>9}{:>11}{:>11}   {}",
            plan.name,
            outcome.counts.matched,
            seen.count,
            after(seen.first, start),
            after(seen.last, start),
            report::words(Op::Push, &outcome)
        ))?;
    }
    Ok(complete)
}

/// One plan for each of [`PUSHES`].
fn plans(clients: u32, user: &str) -> [Plan<'_>; PUSHES.len()] {
    let members = crowd::members(clients);
    let but_members = vec![Target::All, Target::ExceptGroup(GROUP)];
    let plan = |name: String, targets, expected| Plan {
        name,
        targets,
        expected,
    };
    [
        plan(format!("user {user}"), vec![Target::User(user)], 1),
        plan(
            format!("group {GROUP}"),
            vec![Target::Group(GROUP)],
            members,
        ),
        plan("all".to_owned(), vec![Target::All], clients),
        plan(
            format!("all but group {GROUP}"),
            but_members,
            clients - members,
        ),
    ]
}

/// The gateway's tasks when they are back at the baseline, or when there was time enough for that.
async fn settle(admin: SocketAddr, baseline: &Tasks) -> anyhow::Result<Tasks> {
    let deadline = Instant::now() + BASELINE_DEADLINE;
    loop {
        let now = Tasks::read(admin).await?;
        if now == *baseline || deadline < Instant::now() {
            return Ok(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets this process have the descriptors that so many clients need.
fn raise_descriptor_limit(clients: u32) -> anyhow::Result<()> {
    let needed = u64::from(clients) * DESCRIPTORS_PER_CLIENT + DESCRIPTORS_BESIDE;
    let mut limit = getrlimit(Resource::Nofile);
    // No limit is as good as any number.
    if limit.current.is_none_or(|current| needed <= current) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        let possible = most.saturating_sub(DESCRIPTORS_BESIDE) / DESCRIPTORS_PER_CLIENT;
        anyhow::bail!(
            "{clients} clients need {needed} descriptors and this process may have {most}: raise \
             the hard limit (ulimit -Hn), or use --clients {possible}"
        );
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).context("cannot raise the descriptor limit")
}

fn verdict(complete: bool, level: bool) -> String {
    let arrived = match complete {
        true => "Every push reached everybody it was for, once.",
        false => "MISSED: not every push reached everybody it was for, once.",
    };
    let ended = match level {
        true => "Every task that came with the clients has ended.",
        false => "LEFT: some tasks that came with the clients have not ended.",
    };
    format!("\n{arrived}\n{ended}")
}

/// "1.25 ms", or "-" for what never came.
fn after(moment: Option<Instant>, start: Instant) -> String {
    moment.map_or("-".to_owned(), |moment| {
        format!("{:.2} ms", (moment - start).as_secs_f64() * 1e3)
    })
}

fn say(text: &str) -> Result<(), Failure> {
    output::line(text)
}
