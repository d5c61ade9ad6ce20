//! Integers of varying length, texts, and bytes behind their length.

use super::super::reader::Reader;
use super::PacketError;

/// The largest number in four digits of seven bits.
pub(super) const VAR_INT_MAX: u32 = 268_435_455;

/// A variable byte integer (MQTT 5, 1.5.5) at the beginning of `bytes`, and how many of them it
/// takes; `None` when it is not whole.
pub(super) fn var_int(bytes: &[u8]) -> Result<Option<(u32, usize)>, PacketError> {
    let mut value = 0;
    for (place, &digit) in bytes.iter().take(4).enumerate() {
        value |= u32::from(digit & 0x7f) << (7 * place);
        if digit & 0x80 == 0 {
            // The shortest form does not end in a digit of nothing.
            let is_shortest = digit != 0 || place == 0;
            return is_shortest
                .then_some(Some((value, place + 1)))
                .ok_or(PacketError::Length);
        }
    }
    match bytes.len() < 4 {
        true => Ok(None),
        false => Err(PacketError::Length),
    }
}

/// The same inside a packet, where all of it has to be there.
pub(super) fn read_var_int(reader: &mut Reader<'_>) -> Result<u32, PacketError> {
    match var_int(reader.remaining())? {
        Some((value, digits)) => {
            reader.take(digits)?;
            Ok(value)
        }
        None => {
            let left = reader.remaining().len();
            reader.take(left + 1)?;
            Err(PacketError::Length)
        }
    }
}

/// Its digits, and how many of the four are in use.
///
/// # Panics
/// Above [`VAR_INT_MAX`].
pub(super) fn var_int_digits(value: u32) -> ([u8; 4], usize) {
    assert!(value <= VAR_INT_MAX, "{value} does not fit four digits");
    let mut digits = [0; 4];
    let (mut rest, mut count) = (value, 0);
    loop {
        digits[count] = (rest & 0x7f) as u8;
        rest >>= 7;
        count += 1;
        if rest == 0 {
            return (digits, count);
        }
        digits[count - 1] |= 0x80;
    }
}

pub(super) fn put_var_int(out: &mut Vec<u8>, value: u32) {
    let (digits, count) = var_int_digits(value);
    out.extend_from_slice(&digits[..count]);
}

/// A text behind its length: UTF-8 without U+0000 (MQTT 5, 1.5.4).
pub(super) fn read_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, PacketError> {
    text(reader.long_bytes()?)
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, PacketError> {
    let text = std::str::from_utf8(bytes).map_err(|_| PacketError::Text)?;
    match bytes.contains(&0) {
        false => Ok(text),
        true => Err(PacketError::Text),
    }
}
