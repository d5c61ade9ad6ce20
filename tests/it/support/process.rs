//! A process whose output is waited for line by line, and never for ever.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// How long a step may take: a debug build on a busy machine, with an interpreter to start.
pub(crate) const STEP: Duration = Duration::from_secs(30);

/// A process with its output as lines. It is killed, by its id, when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
    /// Whether standard error is read.
    pub(crate) stderr_is_read: Gate,
}

/// Holds a thread up while it is shut.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn shut(&self) {
        *self.0.0.lock().expect("nobody panics in here") = true;
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("nobody panics in here") = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.0.0.lock().expect("nobody panics in here");
        let waited = self.0.1.wait_while(is_shut, |is_shut| *is_shut);
        drop(waited.expect("nobody panics in here"));
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let stderr_is_read = Gate::default();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stdout = lines(stdout, Gate::default());
        let stderr = child.stderr.take().expect("stderr is piped");
        let stderr = lines(stderr, stderr_is_read.clone());
        Self {
            child,
            stdout,
            stderr,
            stderr_is_read,
        }
    }

    /// The same for one whose standard streams are in use: it writes its log to this pipe, which is
    /// made here, as its first argument says.
    pub(crate) fn start_with_log(command: &mut Command, pipe: &Path) -> Self {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, pipe, FileType::Fifo, mode, 0).expect("the directory is writable");
        let pipe = pipe.to_owned();
        let (tx, stderr) = mpsc::channel();
        thread::spawn(move || {
            // Waits for the process to open its end.
            let pipe = File::open(pipe).expect("the pipe is there");
            send_lines(pipe, &tx, &Gate::default());
        });
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self {
            child,
            stdout: mpsc::channel().1,
            stderr,
            stderr_is_read: Gate::default(),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, whether or not anybody reads what it writes: the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + STEP;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return status.code(),
                None if Instant::now() >= deadline => panic!("not ended within {STEP:?}"),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The exit code, and what is left of standard output and standard error.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let deadline = Instant::now() + STEP;
        let stdout = rest(&self.stdout, deadline);
        let stderr = rest(&self.stderr, deadline);
        let status = self.child.wait().expect("a child can be waited for");
        (status.code(), stdout, stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr_is_read.open();
        if thread::panicking() {
            for line in self.stderr.try_iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// The lines of a pipe, read by a thread that ends with the pipe.
fn lines(pipe: impl Read + Send + 'static, gate: Gate) -> Receiver<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || send_lines(pipe, &tx, &gate));
    rx
}

fn send_lines(pipe: impl Read, lines: &Sender<String>, gate: &Gate) {
    let mut read = BufReader::new(pipe).lines().map_while(Result::ok);
    loop {
        gate.pass();
        let Some(line) = read.next() else { return };
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[track_caller]
pub(crate) fn next_line(lines: &Receiver<String>, deadline: Instant) -> Option<String> {
    match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no further line within {STEP:?}"),
    }
}

/// The lines until the pipe is closed.
#[track_caller]
fn rest(lines: &Receiver<String>, deadline: Instant) -> Vec<String> {
    std::iter::from_fn(|| next_line(lines, deadline)).collect()
}

/// The first line that `wanted` finds something in; the lines before it are let go.
#[track_caller]
pub(crate) fn await_line<T>(
    lines: &Receiver<String>,
    mut wanted: impl FnMut(&str) -> Option<T>,
) -> T {
    let deadline = Instant::now() + STEP;
    let mut seen = Vec::new();
    while let Some(line) = next_line(lines, deadline) {
        if let Some(found) = wanted(&line) {
            return found;
        }
        seen.push(line);
    }
    panic!("the process ended without the line that was waited for, after {seen:#?}");
}
