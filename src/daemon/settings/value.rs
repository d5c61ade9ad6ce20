//! Numbers and sizes as people write them.

use toml::de::DeValue;

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

#[cfg(test)]
mod tests {
    use super::size;

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
