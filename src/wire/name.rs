//! Names of users, devices and groups, and the reasons that people read: what bytes may be one.
//!
//! A name is 1 to 255 bytes of UTF-8 without control characters (C0, DEL, C1), compared as bytes.
//! Names travel as `&str`; whoever decodes one has checked it here.

use super::reader::{Reader, Truncated};

/// The most bytes that a name, a device or a reason may have; their length is one byte.
pub const NAME_BYTES_MAX: usize = 255;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes where at least one is needed.
    #[error("empty name")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes; the number of them.
    #[error("name of {0} bytes exceeds 255")]
    TooLong(u32),
    /// Not UTF-8; the offset of the first byte that is not.
    #[error("name is not UTF-8 at byte {0}")]
    NotUtf8(u8),
    /// A control character (C0, DEL or C1).
    #[error("name holds a control character")]
    Control,
    /// A `*` in the name of a group, where it would read as a pattern.
    #[error("group name holds '*'")]
    Star,
}

/// The name of a user.
///
/// # Errors
/// Unless it is 1 to 255 bytes of UTF-8 without control characters.
pub fn name(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    text(bytes)
}

/// The name of a group: a name without `*`.
///
/// # Errors
/// As [`name`], and [`NameError::Star`].
pub fn group(bytes: &[u8]) -> Result<&str, NameError> {
    let group = name(bytes)?;
    if bytes.contains(&b'*') {
        return Err(NameError::Star);
    }
    Ok(group)
}

/// The name of a device: a name, or nothing.
///
/// # Errors
/// As [`name`], except that it may be empty.
pub fn device(bytes: &[u8]) -> Result<&str, NameError> {
    text(bytes)
}

/// Why a connection is closed, in words for people: 0 to 255 bytes of what a name may hold.
///
/// # Errors
/// As [`name`], except that it may be empty.
pub fn reason(bytes: &[u8]) -> Result<&str, NameError> {
    text(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(super::reader::clamped(bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        NameError::NotUtf8(u8::try_from(error.valid_up_to()).unwrap_or(u8::MAX))
    })?;
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(text)
}

/// A list of names inside a frame or a datagram: borrowed bytes that were checked when decoded.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// `count` times `u8 n, name[n]`.
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Names<'a> {
    /// Reads `count` names, each of which `check` accepts.
    pub(super) fn decode<E: From<Truncated> + From<NameError>>(
        reader: &mut Reader<'a>,
        count: u16,
        check: fn(&[u8]) -> Result<&str, NameError>,
    ) -> Result<Self, E> {
        let start = reader.remaining();
        for _ in 0..count {
            check(reader.short_bytes()?)?;
        }
        let bytes = &start[..start.len() - reader.remaining().len()];
        Ok(Self { bytes, count })
    }

    /// How many names there are; a name that stands twice counts twice.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names in their order.
    pub fn iter(&self) -> NamesIter<'a> {
        NamesIter {
            reader: Reader::new(self.bytes),
            left: self.count,
        }
    }

    /// The names as they stand on the wire, without their number.
    pub(super) fn encoded(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Names<'a> {
    type Item = &'a str;
    type IntoIter = NamesIter<'a>;

    fn into_iter(self) -> NamesIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The names of a [`Names`], one after the other.
pub struct NamesIter<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> Iterator for NamesIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self
            .reader
            .short_bytes()
            .expect("the names were counted when decoded");
        Some(std::str::from_utf8(bytes).expect("the names were checked when decoded"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for NamesIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_255_bytes() {
        assert_eq!(name(b""), Err(NameError::Empty));
        assert_eq!(name(b"u"), Ok("u"));
        assert_eq!(name(&[b'u'; 255]).map(str::len), Ok(255));
        assert_eq!(name(&[b'u'; 256]), Err(NameError::TooLong(256)));
    }

    #[test]
    fn control_characters_are_refused_and_their_neighbours_are_not() {
        for control in (0..0x20_u32).chain(0x7f..0xa0) {
            let text = format!("a{}b", char::from_u32(control).unwrap());
            assert_eq!(
                name(text.as_bytes()),
                Err(NameError::Control),
                "U+{control:04X}"
            );
        }
        for text in [" ", "~", "\u{a0}", "\u{2028}", "ü", "\u{10ffff}"] {
            assert_eq!(name(text.as_bytes()), Ok(text));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_place() {
        assert_eq!(name(b"ab\xff"), Err(NameError::NotUtf8(2)));
        assert_eq!(name(b"\x80"), Err(NameError::NotUtf8(0)));
        // A surrogate, an overlong slash, half a character.
        for bytes in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xc3"] {
            assert_eq!(name(bytes), Err(NameError::NotUtf8(0)), "{bytes:02x?}");
        }
    }

    #[test]
    fn only_groups_hold_no_star() {
        assert_eq!(group(b"room/*"), Err(NameError::Star));
        assert_eq!(group(b""), Err(NameError::Empty));
        assert_eq!(group(b"a\n"), Err(NameError::Control));
        assert_eq!(group(&[b'g'; 256]), Err(NameError::TooLong(256)));
        assert_eq!(group(b"room/1"), Ok("room/1"));
        assert_eq!(name(b"*"), Ok("*"));
        assert_eq!(device(b"*"), Ok("*"));
        assert_eq!(reason(b"*"), Ok("*"));
    }

    #[test]
    fn devices_and_reasons_may_be_empty_but_nothing_else_more_than_names() {
        for check in [device, reason] {
            assert_eq!(check(b""), Ok(""));
            assert_eq!(check(&[b'd'; 256]), Err(NameError::TooLong(256)));
            assert_eq!(check(b"\x1b[2J"), Err(NameError::Control));
            assert_eq!(check(b"\xff"), Err(NameError::NotUtf8(0)));
        }
    }

    #[test]
    fn a_list_yields_its_names_in_order() {
        let list = ["b", "a", "b", "ü"];
        let names = crate::wire::samples::names(&list);
        assert_eq!(names.iter().collect::<Vec<_>>(), list);
        assert_eq!(
            (names.len(), names.iter().len(), names.is_empty()),
            (4, 4, false)
        );
        assert_eq!(format!("{names:?}"), r#"["b", "a", "b", "ü"]"#);
        assert_eq!(Names::default().iter().next(), None);
        assert!(Names::default().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_by_its_length_and_characters(text in ".{0,100}|\\PC{0,100}") {
            let has_control = text.chars().any(|c| matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}'));
            let good = (1..=255).contains(&text.len()) && !has_control;
            proptest::prop_assert_eq!(name(text.as_bytes()).is_ok(), good);
            proptest::prop_assert_eq!(group(text.as_bytes()).is_ok(), good && !text.contains('*'));
        }

        #[test]
        fn names_that_are_made_up_are_names(
            name in crate::wire::samples::any_name(),
            group in crate::wire::samples::any_group(),
        ) {
            proptest::prop_assert_eq!(super::name(name.as_bytes()), Ok(name.as_str()));
            proptest::prop_assert_eq!(super::group(group.as_bytes()), Ok(group.as_str()));
        }
    }
}
