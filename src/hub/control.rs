//! Answers that wait for a client's next pump.

/// Bytes of unread answers from which on the gateway does not read from a client: a few hundred
/// short answers.
pub(super) const CONTROL_FULL: usize = 4 * 1024;

/// Bytes of answers that services may cause (JOINED, LEFT) before a client that reads none of them
/// is closed as slow.
pub(super) const CONTROL_MAX: usize = 64 * 1024;

/// Encoded answers, allocated when used: most sessions have none to send.
#[derive(Default)]
pub(super) struct Control(Option<Box<Answers>>);

#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    written: usize,
}

impl Control {
    pub(super) fn rest(&self) -> &[u8] {
        self.0
            .as_ref()
            .map_or(&[], |answers| &answers.bytes[answers.written..])
    }

    /// Appends what `put` writes, which may be nothing.
    pub(super) fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let answers = self.0.get_or_insert_default();
        put(&mut answers.bytes);
        if answers.bytes.is_empty() {
            self.0 = None;
        }
    }

    pub(super) fn advance(&mut self, count: usize) {
        let Some(answers) = &mut self.0 else { return };
        answers.written += count;
        if answers.written == answers.bytes.len() {
            self.0 = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
