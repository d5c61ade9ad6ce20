use std::io::{PipeReader, PipeWriter};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::*;

/// For what has to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sixty of them fill a pipe.
const LONG: [u8; 1000] = [b'x'; 1000];

fn pipe() -> (PipeReader, PipeWriter) {
    io::pipe().expect("a pipe")
}

fn push(queue: &Queue, text: &str) {
    queue.push("", format!("{text}\n").as_bytes());
}

#[test]
fn what_is_pushed_is_written_in_order_and_the_end_loses_nothing() {
    let (queue, (reader, writer)) = (Queue::default(), pipe());
    push(&queue, "before the thread");
    let reading = thread::spawn(move || io::read_to_string(reader));
    thread::scope(|scope| {
        scope.spawn(|| queue.write_to(&writer, |_| panic!("nothing was lost")));
        for number in 0..5_000 {
            push(&queue, &number.to_string());
        }
        queue.release();
    });
    push(&queue, "after the thread");
    queue.flush(&writer);
    drop(writer);
    let text = reading.join().expect("does not panic").expect("is text");
    let expected = std::iter::once("before the thread".to_owned())
        .chain((0..5_000).map(|number| number.to_string()))
        .chain(["after the thread".to_owned()]);
    assert!(text.lines().eq(expected), "{} lines", text.lines().count());
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    let (queue, (reader, writer)) = (Queue::default(), pipe());
    queue.push("<6>", b"one\ntwo\n");
    queue.flush(&writer);
    drop(writer);
    let text = io::read_to_string(reader).expect("is text");
    assert_eq!(text, "<6>one\\ntwo\n");
}

#[test]
fn who_logs_never_waits_and_the_bounds_hold() {
    let (queue, (mut reader, writer)) = (Queue::default(), pipe());
    let (lost, told) = sync_channel(16);
    let written = queue.clone();
    let writing = thread::spawn(move || {
        written.write_to(&writer, |count| lost.send(count).expect("is waited for"));
    });
    // Nobody reads: the pipe is full, the thread waits, and the queue is bounded.
    let long = String::from_utf8(LONG.to_vec()).unwrap();
    let pushed = 2 * BYTES_MAX / LONG.len();
    for _ in 0..pushed {
        push(&queue, &long);
    }
    let dropped = queue.dropped();
    assert!(dropped > 0 && dropped < pushed as u64, "{dropped}");
    assert!(queue.lock().bytes.len() <= BYTES_MAX);
    // Somebody reads again: what was dropped is told.
    let reading = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(dropped));
    queue.release();
    writing.join().expect("does not panic");
    assert!(reading.join().expect("does not panic").expect("reads") > 0);
}

#[test]
fn short_lines_are_bounded_by_their_number() {
    let queue = Queue::default();
    for _ in 0..LINES_MAX + 7 {
        push(&queue, "");
    }
    let lines = queue.lock().lines;
    assert_eq!((lines, queue.dropped()), (LINES_MAX, 7));
}

#[test]
fn a_stalled_reader_does_not_hold_up_the_end() {
    let (queue, (reader, writer)) = (Queue::default(), pipe());
    let lines = 1_000;
    for _ in 0..lines {
        queue.push("", &LONG);
    }
    let (written, flushed, writer) = (queue.clone(), queue.clone(), Arc::new(writer));
    let (ended, end) = sync_channel(1);
    let out = Arc::clone(&writer);
    thread::spawn(move || written.write_to(out, |_| {}));
    thread::spawn(move || {
        flushed.flush(writer);
        let _ = ended.send(());
    });
    assert_eq!(end.recv_timeout(PATIENCE), Ok(()));
    // What did not fit into the pipe was counted.
    let dropped = queue.dropped();
    assert!(dropped > 0 && dropped < lines, "{dropped}");
    drop(reader);
}

#[test]
fn a_reader_that_left_costs_lines_and_nothing_else() {
    let (queue, (reader, writer)) = (Queue::default(), pipe());
    drop(reader);
    thread::scope(|scope| {
        scope.spawn(|| queue.write_to(&writer, |_| panic!("there is nobody to tell")));
        for number in 1..10 {
            push(&queue, "for nobody");
            while queue.dropped() < number {
                thread::sleep(Duration::from_millis(1));
            }
        }
        queue.release();
    });
    push(&queue, "for nobody");
    queue.flush(&writer);
    assert_eq!(queue.dropped(), 10);
}
