//! What people and scripts read: lines on standard output, payloads made safe to look at.
//!
//! Nothing here panics when the reader has left, and no byte of a payload can move a terminal's
//! cursor.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::exit::Failure;

/// Bytes of an unprintable payload that a line shows before it says how many there are in all: one
/// line of a terminal of 160 columns.
const HEX_BYTES_MAX: usize = 64;

/// Writes one line to standard output and flushes it, so that a pipe sees it at once.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

/// Writes `bytes` to standard output as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

/// Writes one line to standard error; a reader that left is nobody to tell.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// The text of a payload, when it is UTF-8 without control characters other than tab, line feed and
/// carriage return.
pub(crate) fn printable(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?;
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    text.chars().all(plain).then_some(text)
}

/// A payload on one line: its text with line ends written out, or the beginning of its bytes in hex
/// and their number.
pub(crate) fn payload_line(payload: &[u8]) -> String {
    let Some(text) = printable(payload) else {
        let shown = hex(&payload[..payload.len().min(HEX_BYTES_MAX)]);
        let more = if payload.len() > HEX_BYTES_MAX {
            ".."
        } else {
            ""
        };
        return format!(
            "0x{shown}{more} ({})",
            counted(payload.len() as u64, "byte")
        );
    };
    text.replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

/// `bytes` in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// "1 session", "2 sessions".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text() {
        assert_eq!(payload_line("grüße, 世界".as_bytes()), "grüße, 世界");
        assert_eq!(payload_line(b""), "");
    }

    #[test]
    fn a_payload_never_takes_more_than_one_line() {
        assert_eq!(
            payload_line(b"one\ttwo\r\nthree\n"),
            "one\\ttwo\\r\\nthree\\n"
        );
    }

    #[test]
    fn what_could_move_a_cursor_is_shown_in_hex() {
        assert_eq!(payload_line(b"\x1b[2J"), "0x1b5b324a (4 bytes)");
        assert_eq!(payload_line("\u{9b}2J".as_bytes()), "0xc29b324a (4 bytes)");
        assert_eq!(payload_line(b"\xff"), "0xff (1 byte)");
    }

    #[test]
    fn long_bytes_are_cut_and_their_number_is_told() {
        let text = payload_line(&[0; 300]);
        assert_eq!(
            text,
            format!("0x{}.. (300 bytes)", "00".repeat(HEX_BYTES_MAX))
        );
        assert!(!payload_line(&[0; HEX_BYTES_MAX]).contains(".."));
    }
}
