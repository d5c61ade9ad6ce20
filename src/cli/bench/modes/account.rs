//! Where every delivery of a disturbed time has gone, by the gateway's own counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::load::GatewayLoad;
use super::super::metrics::Counters;
use super::super::report::Report;
use super::super::rig::Rig;

const DELIVERIES: &str = "pushgate_deliveries_total";
const CLOSED: &str = "pushgate_connections_closed_total";
const WAITING: &str = "pushgate_deliveries_waiting";
const REJECTED: &str = "pushgate_datagrams_rejected_total";
const DROPS: &str = "pushgate_kernel_drops_total";

/// The gateway cuts a client off when what waits for it is ten seconds old; a while more.
const CUT_MAX: Duration = Duration::from_secs(20);
/// How long what was sent may take to be refused.
const REFUSED_MAX: Duration = Duration::from_secs(5);
/// How often the counters are asked for, meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The counters when a disturbed time began.
pub(super) struct Before {
    counters: Option<Counters>,
    matched: i64,
}

/// What the counters have grown by in all disturbed times; empty where there are none.
#[derive(Default)]
pub(super) struct Account {
    is_known: bool,
    matched: i64,
    waiting: i64,
    drops: i64,
    outcomes: BTreeMap<String, i64>,
    closed: BTreeMap<String, i64>,
    rejected: BTreeMap<String, i64>,
}

impl Before {
    pub(super) fn look(rig: &Rig) -> anyhow::Result<Self> {
        Ok(Self {
            counters: rig.admin.map(Counters::read).transpose()?,
            matched: matched(&rig.load),
        })
    }
}

/// Deliveries that the answers have counted.
fn matched(load: &GatewayLoad) -> i64 {
    let answers = &load.pusher.answers;
    (answers.written + answers.waiting + answers.refused).cast_signed()
}

fn sum(grown: &[(String, i64)]) -> i64 {
    grown.iter().map(|(_, count)| count).sum()
}

impl Account {
    /// Waits until the gateway has cut off `slow` clients and refused `bad` datagrams since
    /// `before`, or time is over, and takes in what has happened since.
    pub(super) fn settle(
        &mut self,
        rig: &mut Rig,
        before: &Before,
        slow: usize,
        bad: u64,
    ) -> anyhow::Result<()> {
        let (Some(admin), Some(counters)) = (rig.admin, &before.counters) else {
            return Ok(());
        };
        let start = Instant::now();
        loop {
            let now = Counters::read(admin)?;
            let closed = now.since(counters, CLOSED);
            let cut = closed.iter().find(|(reason, _)| reason == "slow");
            let open = (slow as i64) - cut.map_or(0, |(_, count)| *count);
            let drops = now.value(DROPS) - counters.value(DROPS);
            let refused = sum(&now.since(counters, REJECTED)) + drops;
            let is_over = (open <= 0 || CUT_MAX < start.elapsed())
                && (bad.cast_signed() <= refused || REFUSED_MAX < start.elapsed());
            if is_over {
                self.add(counters, &now, matched(&rig.load) - before.matched);
                return Ok(());
            }
            rig.load.listen(ASK_EVERY)?;
        }
    }

    fn add(&mut self, before: &Counters, now: &Counters, matched: i64) {
        self.is_known = true;
        self.matched += matched;
        self.waiting += now.value(WAITING) - before.value(WAITING);
        self.drops += now.value(DROPS) - before.value(DROPS);
        for (grown, counts) in [
            (&mut self.outcomes, now.since(before, DELIVERIES)),
            (&mut self.closed, now.since(before, CLOSED)),
            (&mut self.rejected, now.since(before, REJECTED)),
        ] {
            for (label, count) in counts {
                *grown.entry(label).or_default() += count;
            }
        }
    }

    /// Deliveries of which the counters do not tell what became of them.
    pub(super) fn unaccounted(&self) -> u64 {
        let outcomes: i64 = self.outcomes.values().sum();
        (self.matched - self.waiting - outcomes).unsigned_abs()
    }

    /// Of `sent` bad datagrams those that were neither refused nor dropped by the kernel.
    pub(super) fn unrefused(&self, sent: u64) -> u64 {
        if !self.is_known {
            return 0;
        }
        let rejected: i64 = self.rejected.values().sum();
        (sent.cast_signed() - rejected - self.drops).unsigned_abs()
    }

    /// Tells what became of the deliveries, and how many of `stalled` were cut off.
    pub(super) fn tell(&self, stalled: usize, report: &mut Report) {
        if !self.is_known {
            return;
        }
        let count = |count: i64| count.unsigned_abs();
        report.count("disturbed: matched", count(self.matched));
        for (outcome, deliveries) in &self.outcomes {
            report.count(format!("disturbed: {outcome}"), count(*deliveries));
        }
        report.count("disturbed: waiting", count(self.waiting));
        report.count("disturbed: unaccounted", self.unaccounted());
        report.count("stalled", stalled as u64);
        let slow = self.closed.get("slow").copied().unwrap_or_default();
        report.count("closed: slow", count(slow));
        for (reason, closed) in self.closed.iter().filter(|(reason, _)| *reason != "slow") {
            report.count(format!("closed: {reason}"), count(*closed));
        }
    }

    /// Tells what became of `sent` bad datagrams.
    pub(super) fn tell_refused(&self, sent: u64, report: &mut Report) {
        report.count("storm: sent", sent);
        if !self.is_known {
            return;
        }
        for (cause, datagrams) in &self.rejected {
            report.count(format!("storm: rejected {cause}"), datagrams.unsigned_abs());
        }
        report.count("storm: dropped by the kernel", self.drops.unsigned_abs());
        report.count("storm: unaccounted", self.unrefused(sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_anywhere_is_told() {
        let text = |written: u64, cut: u64, waiting: u64| {
            Counters::parse(&format!(
                "{DELIVERIES}{{outcome=\"written\"}} {written}\n\
                 {DELIVERIES}{{outcome=\"closed\"}} {cut}\n\
                 {CLOSED}{{reason=\"slow\"}} {cut}\n\
                 {REJECTED}{{cause=\"mac\"}} {cut}\n\
                 {DROPS} {waiting}\n{WAITING} {waiting}\n"
            ))
        };
        let mut account = Account::default();
        account.add(&text(10, 0, 0), &text(100, 7, 3), 100);
        assert_eq!(account.unaccounted(), 0);
        account.add(&text(100, 7, 3), &text(190, 8, 3), 100);
        assert_eq!(account.unaccounted(), 9);
        // Eight refused and three dropped.
        assert_eq!(account.unrefused(12), 1);
        let mut report = Report::default();
        account.tell(8, &mut report);
        account.tell_refused(12, &mut report);
        let told = |name: &str| report.counts.iter().find(|(of, _)| of == name).unwrap().1;
        assert_eq!(told("disturbed: written"), 180);
        assert_eq!(told("closed: slow"), 8);
        assert_eq!(told("storm: rejected mac"), 8);
        assert_eq!(told("storm: unaccounted"), 1);
    }
}
