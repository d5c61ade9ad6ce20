//! Numbers, sizes and moments as people write them.

use std::time::{Duration, UNIX_EPOCH};

use toml::de::DeValue;
use toml::value::{Datetime, Offset};

/// Bytes of a string such as `512B`, `64KiB`, `1 MiB` or `1GiB`. Powers of 1,000 are not taken: a
/// `MB` means either to somebody.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// An integer that is not negative.
pub(super) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A moment with its offset (RFC 3339), bare or in quotes, in unix milliseconds. `None` without an
/// offset, since whose clock that would be is anybody's guess, and before 1970.
pub(super) fn moment(value: &DeValue<'_>) -> Option<u64> {
    let moment = match value {
        DeValue::Datetime(moment) => *moment,
        DeValue::String(text) => text.parse::<Datetime>().ok()?,
        _ => return None,
    };
    let offset_ms = match moment.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60_000,
    };
    let (date, time) = (moment.date?, moment.time?);
    let as_utc = humantime::parse_rfc3339(&format!("{date}T{time}Z")).ok()?;
    let since_1970 = as_utc.duration_since(UNIX_EPOCH).ok()?;
    let ms = i64::try_from(since_1970.as_millis()).ok()? - offset_ms;
    u64::try_from(ms).ok()
}

/// The same as text, in UTC.
pub(super) fn show_moment(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_an_offset() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.25Z", Some(250)),
            ("2026-11-24T18:30:00Z", Some(1_795_545_000_000)),
            ("2026-11-24 18:30:00z", Some(1_795_545_000_000)),
            ("2026-11-24T19:30:00+01:00", Some(1_795_545_000_000)),
            ("2026-11-24T13:00:00-05:30", Some(1_795_545_000_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-24T18:30:00", None),
            ("2026-11-24", None),
            ("18:30:00", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("tomorrow", None),
            ("", None),
        ] {
            let quoted = DeValue::String(text.into());
            assert_eq!(moment(&quoted), ms, "{text:?}");
            if let Ok(bare) = text.parse() {
                assert_eq!(moment(&DeValue::Datetime(bare)), ms, "{text}");
            }
            if let Some(ms) = ms {
                assert_eq!(moment(&DeValue::String(show_moment(ms).into())), Some(ms));
            }
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("1 MiB", Some(1_048_576)),
            ("4GiB", Some(4_294_967_296)),
            ("64", None),
            ("64kib", None),
            ("64MB", None),
            ("1.5MiB", None),
            ("-1KiB", None),
            ("KiB", None),
            ("", None),
            ("99999999999GiB", None),
            ("64KiB ", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
