//! Which bytes of what the hub offers go into the next TLS record.

use std::io::IoSlice;

/// Plaintext of one record, as long as TLS lets a record be.
pub(super) const PLAIN_MAX: usize = 16 * 1024;

/// Copies what comes behind the first `skip` bytes of `parts` into `record`, as much as fits, and
/// returns how much.
///
/// A record never ends behind the first byte of a part. The last byte of a record that the kernel
/// has not taken whole is reported as not taken (see [`Tls`](super::Tls)); the hub then holds its
/// message for begun, which it is, because another byte of it was reported.
pub(super) fn fill(parts: &[IoSlice<'_>], mut skip: usize, record: &mut [u8; PLAIN_MAX]) -> usize {
    let mut filled = 0;
    for part in parts {
        let Some(rest) = part.get(skip..) else {
            skip -= part.len();
            continue;
        };
        let before = std::mem::take(&mut skip);
        let mut count = rest.len().min(PLAIN_MAX - filled);
        if count == 1 && before == 0 && part.len() > 1 {
            count = 0;
        }
        record[filled..filled + count].copy_from_slice(&rest[..count]);
        filled += count;
        if count < rest.len() {
            break;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slices(parts: &[Vec<u8>]) -> Vec<IoSlice<'_>> {
        parts.iter().map(|part| IoSlice::new(part)).collect()
    }

    #[test]
    fn a_record_holds_many_parts_and_no_more_than_fit() {
        let parts = [vec![1; 3], vec![2; PLAIN_MAX], vec![3; 2]];
        let mut record = [0; PLAIN_MAX];
        assert_eq!(fill(&slices(&parts), 0, &mut record), PLAIN_MAX);
        assert_eq!(record[..4], [1, 1, 1, 2]);
        assert_eq!(fill(&slices(&parts), PLAIN_MAX, &mut record), 5);
        assert_eq!(record[..5], [2, 2, 2, 3, 3]);
        assert_eq!(fill(&slices(&parts), PLAIN_MAX + 5, &mut record), 0);
    }

    #[test]
    fn a_record_does_not_end_behind_the_first_byte_of_a_part() {
        let parts = [vec![1; PLAIN_MAX - 1], vec![2; 5]];
        let mut record = [0; PLAIN_MAX];
        assert_eq!(fill(&slices(&parts), 0, &mut record), PLAIN_MAX - 1);
        // The rest of a part that was begun may be a byte.
        assert_eq!(fill(&slices(&parts), PLAIN_MAX + 3, &mut record), 1);
        // So may a whole part: a head came before it.
        assert_eq!(fill(&slices(&[vec![1; 20], vec![2]]), 0, &mut record), 21);
    }

    proptest! {
        #[test]
        fn records_one_behind_the_other_are_what_was_offered(
            lengths in prop::collection::vec(0..40_000usize, 0..6)
        ) {
            let parts: Vec<Vec<u8>> = (0u8..).zip(&lengths)
                .map(|(byte, length)| vec![byte; *length])
                .collect();
            let (mut record, mut all) = ([0; PLAIN_MAX], Vec::new());
            loop {
                let count = fill(&slices(&parts), all.len(), &mut record);
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&record[..count]);
                let mut end = all.len();
                let cut = parts.iter().find(|part| {
                    let inside = end < part.len();
                    end = end.saturating_sub(if inside { 0 } else { part.len() });
                    inside
                });
                prop_assert!(cut.is_none() || end != 1, "a record ends behind a first byte");
            }
            prop_assert_eq!(all, parts.concat());
        }
    }
}
