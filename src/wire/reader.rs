//! A place in bytes that are being decoded; every step forward is checked.

/// A field reaches behind the end of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truncated {
    pub(super) needs: u32,
    pub(super) left: u32,
}

/// Bytes not decoded yet.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.truncated(count));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// `u8 n`, then n bytes.
    pub(super) fn short_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let count = self.u8()?;
        self.take(usize::from(count))
    }

    /// `u16 n`, then n bytes.
    pub(super) fn long_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// Everything that is left, maybe nothing.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// What has not been read yet, without reading it.
    pub(super) fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    fn truncated(&self, needs: usize) -> Truncated {
        Truncated {
            needs: clamped(needs),
            left: clamped(self.rest.len()),
        }
    }
}

/// A size for the text of an error.
pub(super) fn clamped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Writes `u8 n` and the bytes.
///
/// # Panics
/// With more than 255 bytes: what is encoded has passed [`super::name`].
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(
        u8::try_from(bytes.len()).expect("a name, reason or collapse key has 255 bytes at most"),
    );
    out.extend_from_slice(bytes);
}

/// Writes `u16 n` and the bytes.
///
/// # Panics
/// With more than 65,535 bytes.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u16::try_from(bytes.len()).expect("a token has 65,535 bytes at most");
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(bytes);
}
