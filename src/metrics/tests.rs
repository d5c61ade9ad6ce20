#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashSet;

use super::*;

/// The value of one series in the text.
fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_text_is_well_formed_and_every_family_has_help_and_type() {
    let text = Metrics::new().render();
    let (mut helped, mut typed) = (HashSet::new(), HashSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.') && help.trim() == help, "{line}");
            assert!(!help.contains("  "), "{line}");
            helped.insert(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed.insert(rest.split_once(' ').unwrap().0.to_owned());
        } else {
            let (series, number) = line.rsplit_once(' ').unwrap();
            number.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| typed.contains(*base)))
                .unwrap_or(name);
            assert!(typed.contains(base) && helped.contains(base), "{line}");
        }
    }
    assert_eq!(helped, typed);
}

#[test]
fn every_series_that_operators_are_promised_is_there_from_the_start() {
    let text = Metrics::new().render();
    for name in [
        "pushgate_sessions",
        "pushgate_tasks{kind=\"session\"}",
        "pushgate_tasks_started_total{kind=\"push_job\"}",
        "pushgate_task_oldest_seconds{kind=\"push_handler\"}",
        "pushgate_connections_opened_total",
        "pushgate_connections_closed_total{reason=\"slow\"}",
        "pushgate_connections_closed_total{reason=\"eof\"}",
        "pushgate_datagrams_received_total",
        "pushgate_datagrams_rejected_total{cause=\"mac\"}",
        "pushgate_kernel_drops_total",
        "pushgate_requests_total{op=\"push\",status=\"done\"}",
        "pushgate_requests_total{op=\"ping\",status=\"not_kept\"}",
        "pushgate_repeats_total",
        "pushgate_push_timeouts_total",
        "pushgate_deliveries_total{outcome=\"superseded\"}",
        "pushgate_deliveries_waiting",
        "pushgate_log_messages",
        "pushgate_log_bytes",
        "pushgate_sessions_behind",
        "pushgate_lanes",
        "pushgate_sender_skew_seconds_count",
        "pushgate_push_duration_seconds_count",
        "pushgate_delivery_latency_seconds_count",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(&format!("\n{name} ")), "no {name} in\n{text}");
    }
}

#[test]
fn each_value_of_an_enum_counts_under_its_own_word() {
    let metrics = Metrics::new();
    for (index, reason) in CloseReason::ALL.iter().enumerate() {
        (0..=index).for_each(|_| metrics.connection_closed(*reason));
        let series = format!(
            "pushgate_connections_closed_total{{reason=\"{}\"}}",
            reason.word()
        );
        assert_eq!(value(&metrics, &series), index as f64 + 1.0);
    }
    for (index, cause) in RejectCause::ALL.iter().enumerate() {
        (0..=index).for_each(|_| metrics.datagram_rejected(*cause));
        let series = format!(
            "pushgate_datagrams_rejected_total{{cause=\"{}\"}}",
            cause.word()
        );
        assert_eq!(value(&metrics, &series), index as f64 + 1.0);
    }
    for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
        metrics.deliveries(outcome, index as u64 + 1);
        let series = format!(
            "pushgate_deliveries_total{{outcome=\"{}\"}}",
            outcome.word()
        );
        assert_eq!(value(&metrics, &series), index as f64 + 1.0);
    }
    for (index, kind) in AcceptError::ALL.into_iter().enumerate() {
        (0..=index).for_each(|_| metrics.accept_error(kind));
        let series = format!("pushgate_accept_errors_total{{kind=\"{}\"}}", kind.word());
        assert_eq!(value(&metrics, &series), index as f64 + 1.0);
    }
}

#[test]
fn each_op_and_status_counts_under_both_words() {
    let metrics = Metrics::new();
    let mut count = 0;
    for op in Op::ALL {
        for status in Status::ALL {
            count += 1;
            (0..count).for_each(|_| metrics.request(op, status));
            let series = format!(
                "pushgate_requests_total{{op=\"{}\",status=\"{}\"}}",
                op.word(),
                status.word(),
            );
            assert_eq!(value(&metrics, &series), f64::from(count));
        }
    }
}

#[test]
fn kernel_drops_never_fall_when_a_socket_begins_anew() {
    let metrics = Metrics::new();
    let mut live = Live::default();
    for (drops, total) in [(5, 5.0), (7, 7.0), (0, 7.0), (2, 9.0)] {
        live.kernel_drops = drops;
        metrics.set_live(&live);
        assert_eq!(value(&metrics, "pushgate_kernel_drops_total"), total);
    }
}

#[test]
fn a_local_histogram_merges_into_the_shared_one() {
    let metrics = Metrics::new();
    let local = metrics.delivery_latency.local();
    local.observe(0.002);
    assert_eq!(
        value(&metrics, "pushgate_delivery_latency_seconds_count"),
        0.0
    );
    local.flush();
    assert_eq!(
        value(&metrics, "pushgate_delivery_latency_seconds_count"),
        1.0
    );
}

#[test]
fn the_kind_of_an_accept_error_is_that_of_its_errno() {
    use rustix::io::Errno;
    let of =
        |errno: Errno| AcceptError::of(&std::io::Error::from_raw_os_error(errno.raw_os_error()));
    assert_eq!(of(Errno::MFILE), AcceptError::Emfile);
    assert_eq!(of(Errno::NFILE), AcceptError::Enfile);
    assert_eq!(of(Errno::NOBUFS), AcceptError::Enobufs);
    assert_eq!(of(Errno::NOMEM), AcceptError::Enomem);
    assert_eq!(of(Errno::CONNABORTED), AcceptError::Other);
    assert!(!AcceptError::Other.is_shortage() && AcceptError::Emfile.is_shortage());
}
