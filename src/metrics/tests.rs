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
        "pushgate_clock_ahead_seconds",
        "pushgate_clock_steps_total{direction=\"back\"}",
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
fn drops_at_listeners_are_the_kernels_own_count_and_never_fall() {
    let metrics = Metrics::new();
    let mut live = Live::default();
    for (overflows, drops, told) in [(3, 5, [3.0, 5.0]), (3, 6, [3.0, 6.0]), (0, 0, [3.0, 6.0])] {
        (live.listen_overflows, live.listen_drops) = (overflows, drops);
        metrics.set_live(&live);
        let names = ["overflows", "drops"].map(|what| format!("pushgate_listen_{what}_total"));
        assert_eq!(names.map(|name| value(&metrics, &name)), told);
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

#[test]
fn a_key_has_its_series_as_long_as_it_is_configured() {
    let metrics = Metrics::new();
    metrics.key_datagrams.set([(0, 3.0), (7, 5.0)]);
    metrics.key_last_used.set([(7, 1_795_545_000.25)]);
    let text = metrics.render();
    assert!(
        text.contains("# TYPE pushgate_key_datagrams_total counter\n"),
        "{text}"
    );
    let datagrams = "pushgate_key_datagrams_total{key=\"7\"}";
    assert_eq!(value(&metrics, datagrams), 5.0);
    let last_used = "pushgate_key_last_used_timestamp_seconds{key=\"7\"}";
    assert_eq!(value(&metrics, last_used), 1_795_545_000.25);
    metrics.key_datagrams.set([(8, 1.0)]);
    assert!(!metrics.render().contains(datagrams));
}

#[test]
fn steps_of_the_clock_count_by_their_direction() {
    let metrics = Metrics::new();
    for step_ms in [-2_000, 5_000, 9_000] {
        metrics.clock_step(step_ms);
    }
    let steps = |word| {
        value(
            &metrics,
            &format!("pushgate_clock_steps_total{{direction=\"{word}\"}}"),
        )
    };
    assert_eq!((steps("back"), steps("forward")), (1.0, 2.0));
}
