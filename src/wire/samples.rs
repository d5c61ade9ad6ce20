//! What the tests of the wire share: the golden bytes of the protocol, and random names.

use proptest::prelude::*;

use super::datagram::{Header, Op};
use super::name::{self, NameError, Names};
use super::reader::{Reader, Truncated, put_short};
use super::seal::Key;

/// The golden bytes of one kind (`frames` or `datagrams`), by name.
pub(super) fn vectors(kind: &str) -> Vec<(String, Vec<u8>)> {
    let text = include_str!("../../tests/data/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let named = vectors[kind].as_object().unwrap();
    named
        .iter()
        .map(|(name, hex)| (name.clone(), unhex(hex.as_str().unwrap())))
        .collect()
}

/// The golden bytes of one name.
#[track_caller]
pub(super) fn vector(kind: &str, name: &str) -> Vec<u8> {
    vectors(kind)
        .into_iter()
        .find(|(known, _)| known == name)
        .expect("a vector of that name")
        .1
}

pub(super) fn unhex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "whole bytes: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Key 7 of the golden bytes.
pub(super) fn key_7() -> Key {
    Key::new(&(0..0x20).collect::<Vec<u8>>()).unwrap()
}

/// The header of the golden datagrams.
pub(super) fn header(op: Op, key_id: u32) -> Header {
    let mut request_id = [0; 16];
    for (byte, value) in request_id.iter_mut().zip(0xa0..) {
        *byte = value;
    }
    Header {
        op: op.code(),
        key_id,
        time_ms: 1_790_000_000_000,
        request_id,
    }
}

/// The only error of [`names`]: the sample is wrong.
#[derive(Debug)]
struct BadSample;

impl From<Truncated> for BadSample {
    fn from(_: Truncated) -> Self {
        Self
    }
}

impl From<NameError> for BadSample {
    fn from(_: NameError) -> Self {
        Self
    }
}

/// A list of names as if decoded. Its bytes are leaked: only tests make one from a slice.
pub(super) fn names<S: AsRef<str>>(list: &[S]) -> Names<'static> {
    let mut bytes = Vec::new();
    for name in list {
        put_short(&mut bytes, name.as_ref().as_bytes());
    }
    let count = u16::try_from(list.len()).unwrap();
    Names::decode::<BadSample>(&mut Reader::new(bytes.leak()), count, name::name).unwrap()
}

/// Names of users: short ones, ones of many scripts, ones of the greatest length.
pub(super) fn any_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z*/]{1,8}", "[^\\p{Cc}]{1,63}", "[ -~]{255}"]
}

/// Names of groups.
pub(super) fn any_group() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/]{1,8}", "[^\\p{Cc}*]{1,63}", "[a-z]{255}"]
}

/// Devices and reasons: names, or nothing.
pub(super) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), any_name()]
}

/// Up to `max` bytes.
pub(super) fn any_bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=max)
}

/// Bytes that are nearly one of `originals`: some overwritten, some cut off, some added.
pub(super) fn damaged(originals: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        prop::sample::select(originals),
        damage,
        any_bytes(3),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut bytes, damage, more, cut)| {
            for (at, value) in damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            bytes.extend_from_slice(&more);
            // Half of them keep their length.
            let cut = cut.index(2 * bytes.len() + 1);
            bytes.truncate(cut);
            bytes
        })
}
