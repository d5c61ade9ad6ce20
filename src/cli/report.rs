//! What became of a request, for people, for scripts, and as an exit code.

use serde_json::{Value, json};

use super::exit::{CommandResult, Exit};
use super::output::{self, counted};
use super::sender::Outcome;
use crate::wire::datagram::{Op, Target};
use crate::wire::reason::Status;

/// Prints the outcome of a request and turns its status into an exit code. The targets are those of
/// a PRESENCE, whose answer has a count for each.
pub(super) fn report(
    op: Op,
    outcome: &Outcome,
    targets: &[Target<'_>],
    json: bool,
) -> CommandResult {
    if json {
        output::line(object(op, outcome, targets).to_string())?;
        return Ok(exit(outcome.status));
    }
    for (target, sessions) in targets.iter().zip(outcome.sessions()) {
        output::line(format!(
            "{}: {}",
            describe(target),
            counted(sessions.into(), "session")
        ))?;
    }
    output::line(words(op, outcome))?;
    Ok(exit(outcome.status))
}

/// The exit code of a status: 0 when it was done, 3 when the same may be done later.
pub(super) fn exit(status: Status) -> Exit {
    match status {
        Status::Done => Exit::Ok,
        Status::Accepted | Status::Timeout | Status::Busy | Status::Draining => Exit::TryAgain,
        Status::BadRequest | Status::Denied | Status::Stale | Status::NotKept => Exit::Failed,
    }
}

/// One line for people.
pub(super) fn words(op: Op, outcome: &Outcome) -> String {
    let tally = tally(op, outcome);
    match outcome.status {
        Status::Done => format!("done: {tally}"),
        Status::Accepted => format!("accepted, and still running: {tally}"),
        Status::Timeout => {
            format!("timeout: the gateway's deadline passed, the job goes on; so far {tally}")
        }
        Status::Busy => {
            "busy: a bound was reached and nothing was done; try again later".to_owned()
        }
        Status::BadRequest => format!("bad request: nothing was done; {}", suspects(op)),
        Status::Denied => "denied: the key may not do this; nothing was done".to_owned(),
        Status::Stale => format!(
            "stale: {}, or it forgot what went before its start; whether an earlier datagram of \
             this request was carried out is not known",
            clock_words(outcome.clock_ahead_ms)
        ),
        Status::Draining => {
            "draining: the gateway is shutting down; nothing was done; try again later, or at \
             another gateway"
                .to_owned()
        }
        Status::NotKept => {
            format!("not kept: it could not be stored and was sent as a live one; {tally}")
        }
    }
}

/// What may be wrong with a request that the protocol allows: the answer does not say it, and the
/// bounds are the gateway's configuration.
const fn suspects(op: Op) -> &'static str {
    match op {
        Op::Push => {
            "look at the gateway's limits: --ttl up to history.max_ttl (7d by default), --spread \
             up to push.max_spread (10m), a message up to push.max_payload (65000 bytes)"
        }
        _ => "it is malformed, or the gateway is of another version",
    }
}

/// "the gateway's clock is 8 ms behind".
fn clock_words(ahead_ms: i64) -> String {
    let ms = ahead_ms.unsigned_abs();
    let side = if ahead_ms < 0 { "behind" } else { "ahead" };
    format!("the gateway's clock is {ms} ms {side}")
}

/// The counts of an operation, in its own words, and the time it took.
fn tally(op: Op, outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let matched = counted(counts.matched.into(), "session");
    let (written, waiting, refused) = (counts.written, counts.waiting, counts.refused);
    let tally = match op {
        Op::Push => {
            let number = match outcome.number {
                0 => String::new(),
                number => format!(", number {number}"),
            };
            format!(
                "{matched} matched, {written} written, {waiting} waiting, {refused} refused{number}"
            )
        }
        Op::Join => format!("{matched} found, {written} in the group, {refused} refused"),
        Op::Leave => format!("{matched} found, {written} out of the group"),
        Op::Kick => format!("{matched} closed"),
        Op::Presence => format!("{matched} in sum"),
        Op::Ping => {
            let milliseconds = outcome.round_trip.as_secs_f64() * 1e3;
            let bytes = counted(outcome.tail.len() as u64, "byte");
            let clock = clock_words(outcome.clock_ahead_ms);
            return format!("{bytes} came back in {milliseconds:.1} ms; {clock}");
        }
    };
    format!("{tally} ({} ms)", outcome.elapsed_ms)
}

/// The same for scripts.
fn object(op: Op, outcome: &Outcome, targets: &[Target<'_>]) -> Value {
    let counts = &outcome.counts;
    let mut object = json!({
        "op": op.word(),
        "status": outcome.status.word(),
        "matched": counts.matched,
        "written": counts.written,
        "waiting": counts.waiting,
        "refused": counts.refused,
        "elapsed_ms": outcome.elapsed_ms,
        "number": outcome.number,
        // Microseconds are as fine as it is worth, and print short.
        "round_trip_ms": outcome.round_trip.as_micros() as f64 / 1e3,
        "datagrams": outcome.datagrams,
        "clock_ahead_ms": outcome.clock_ahead_ms,
    });
    if op == Op::Presence {
        let answers = targets.iter().zip(outcome.sessions());
        object["targets"] = answers
            .map(|(target, sessions)| {
                json!({ "scope": scope(target), "name": target.name(), "sessions": sessions })
            })
            .collect();
    }
    object
}

fn scope(target: &Target<'_>) -> &'static str {
    match target {
        Target::All => "all",
        Target::User(_) => "user",
        Target::Group(_) => "group",
        Target::ExceptUser(_) => "except_user",
        Target::ExceptGroup(_) => "except_group",
    }
}

/// "all", "user ada", "group news".
fn describe(target: &Target<'_>) -> String {
    format!("{} {}", scope(target), target.name())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::reply::Counts;

    fn outcome(status: Status) -> Outcome {
        Outcome {
            status,
            counts: Counts {
                matched: 3,
                written: 2,
                waiting: 1,
                refused: 0,
            },
            elapsed_ms: 12,
            number: 0,
            tail: Vec::new(),
            round_trip: Duration::from_micros(12_400),
            datagrams: 1,
            clock_ahead_ms: -3,
        }
    }

    #[test]
    fn a_push_that_is_done_tells_its_counts() {
        assert_eq!(
            words(Op::Push, &outcome(Status::Done)),
            "done: 3 sessions matched, 2 written, 1 waiting, 0 refused (12 ms)"
        );
        let kept = Outcome {
            number: 42,
            ..outcome(Status::Done)
        };
        assert!(words(Op::Push, &kept).contains(", number 42"));
    }

    #[test]
    fn where_nothing_was_done_no_count_suggests_otherwise() {
        for status in [
            Status::Busy,
            Status::BadRequest,
            Status::Denied,
            Status::Draining,
        ] {
            let words = words(Op::Push, &outcome(status));
            assert!(words.contains("nothing was done"), "{words}");
            assert!(!words.contains("matched"), "{words}");
        }
    }

    #[test]
    fn a_push_over_a_limit_is_told_which_limits_there_are() {
        let words = words(Op::Push, &outcome(Status::BadRequest));
        for limit in ["history.max_ttl", "push.max_spread", "push.max_payload"] {
            assert!(words.contains(limit), "{words}");
        }
    }

    #[test]
    fn a_clock_is_ahead_or_behind_and_never_less_than_nothing() {
        let mut outcome = outcome(Status::Done);
        for (ahead_ms, expected) in [
            (-8, "clock is 8 ms behind"),
            (0, "clock is 0 ms ahead"),
            (8, "clock is 8 ms ahead"),
        ] {
            outcome.clock_ahead_ms = ahead_ms;
            let words = words(Op::Ping, &outcome);
            assert!(words.ends_with(expected), "{words}");
        }
    }

    #[test]
    fn only_done_is_success_and_only_what_may_pass_is_try_again() {
        for status in Status::ALL {
            let expected = match status.word() {
                "done" => Exit::Ok,
                "accepted" | "timeout" | "busy" | "draining" => Exit::TryAgain,
                _ => Exit::Failed,
            };
            assert_eq!(exit(status), expected, "{status}");
        }
    }

    #[test]
    fn json_of_a_presence_has_a_count_for_each_target() {
        let tail = [5_u32, 0]
            .iter()
            .flat_map(|sessions| sessions.to_be_bytes())
            .collect();
        let outcome = Outcome {
            tail,
            ..outcome(Status::Done)
        };
        let object = object(Op::Presence, &outcome, &[Target::All, Target::User("ada")]);
        assert_eq!(
            object["targets"][0],
            json!({ "scope": "all", "name": "", "sessions": 5 })
        );
        assert_eq!(
            object["targets"][1],
            json!({ "scope": "user", "name": "ada", "sessions": 0 })
        );
        assert_eq!(object["status"], "done");
    }
}
