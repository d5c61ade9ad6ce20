//! Answers of one batch of datagrams, joined: those of one length to one sender go out in one
//! system call, which the kernel cuts into datagrams (UDP GSO).

use std::net::{IpAddr, SocketAddr};

use quinn_udp::Transmit;

/// Answers that wait at most: a batch is small, so that the first of it does not wait for long.
const ANSWERS_MAX: usize = 32;

/// Where an answer goes, and from which of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
}

/// The answers of a batch that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    joined: Vec<Joined>,
    answers: usize,
}

/// Answers that are sent in one call.
#[derive(Debug)]
struct Joined {
    back: Return,
    length: usize,
    bytes: Vec<u8>,
}

impl Outbox {
    /// Adds an answer; of at most `segments` of them a call may consist. True when the outbox is to
    /// be emptied.
    pub(super) fn push(&mut self, answer: &[u8], back: Return, segments: usize) -> bool {
        let fits = |joined: &&mut Joined| {
            joined.back == back
                && joined.length == answer.len()
                && joined.bytes.len() < segments * joined.length
        };
        match self.joined.iter_mut().rfind(fits) {
            Some(joined) => joined.bytes.extend_from_slice(answer),
            None => {
                let (length, bytes) = (answer.len(), answer.to_vec());
                self.joined.push(Joined {
                    back,
                    length,
                    bytes,
                });
            }
        }
        self.answers += 1;
        self.answers >= ANSWERS_MAX
    }

    /// Hands out each call to be made, with the number of answers in it, and forgets them.
    pub(super) fn drain(&mut self, mut send: impl FnMut(&Transmit<'_>, u64)) {
        self.answers = 0;
        for Joined {
            back,
            length,
            bytes,
        } in self.joined.drain(..)
        {
            let answers = bytes.len().div_ceil(length.max(1));
            let transmit = Transmit {
                destination: back.to,
                ecn: None,
                contents: &bytes,
                segment_size: (answers > 1).then_some(length),
                src_ip: back.from,
            };
            send(&transmit, answers as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(port: u16) -> Return {
        Return {
            to: ([127, 0, 0, 1], port).into(),
            from: None,
        }
    }

    fn drained(outbox: &mut Outbox) -> Vec<(u16, Vec<u8>, Option<usize>, u64)> {
        let mut calls = Vec::new();
        outbox.drain(|transmit, answers| {
            let (port, contents) = (transmit.destination.port(), transmit.contents.to_vec());
            calls.push((port, contents, transmit.segment_size, answers));
        });
        calls
    }

    #[test]
    fn answers_of_one_length_to_one_sender_are_one_call() {
        let mut outbox = Outbox::default();
        for (answer, port) in [("aa", 1), ("bb", 2), ("cc", 1), ("long", 1), ("dd", 1)] {
            assert!(!outbox.push(answer.as_bytes(), back(port), 64));
        }
        let calls = drained(&mut outbox);
        assert_eq!(
            calls,
            [
                (1, b"aaccdd".to_vec(), Some(2), 3),
                (2, b"bb".to_vec(), None, 1),
                (1, b"long".to_vec(), None, 1),
            ]
        );
        assert!(drained(&mut outbox).is_empty());
    }

    #[test]
    fn where_the_kernel_cuts_nothing_each_is_a_call_of_its_own() {
        let mut outbox = Outbox::default();
        for answer in ["aa", "bb", "cc"] {
            outbox.push(answer.as_bytes(), back(1), 1);
        }
        assert_eq!(drained(&mut outbox).len(), 3);
    }

    #[test]
    fn a_full_outbox_says_so() {
        let mut outbox = Outbox::default();
        let full: Vec<bool> = (0..ANSWERS_MAX)
            .map(|_| outbox.push(b"aa", back(1), 64))
            .collect();
        assert_eq!(full.iter().position(|full| *full), Some(ANSWERS_MAX - 1));
    }
}
