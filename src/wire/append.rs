//! A buffer that grows with what comes, and never beyond what may come.

/// Appends with room for twice as much, but for no more than `max` bytes in all, where these are
/// enough: doubling alone would take up to twice the bound.
pub(crate) fn append_within(bytes: &mut Vec<u8>, new: &[u8], max: usize) {
    let needed = bytes.len() + new.len();
    if needed > bytes.capacity() {
        let room = (2 * bytes.capacity()).min(max).max(needed);
        bytes.reserve_exact(room - bytes.len());
    }
    bytes.extend_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trickles_in_takes_no_more_than_the_whole() {
        let (mut bytes, max) = (Vec::new(), 1_000);
        for _ in 0..max {
            append_within(&mut bytes, b"x", max);
        }
        assert_eq!((bytes.len(), bytes.capacity()), (max, max));
    }
}
