//! A segment of the store as it may stand on a disk: from anybody, then with the checksums that
//! belong to it, which a fuzzer does not find by itself.

use pushgate::store::{Record, scan};

/// Where a segment's first record stands, and how long a record's head is.
const START: usize = 32;
const HEAD: usize = 20;

/// The bytes with checksums that are right, as far as the lengths lead; made without the store's
/// own code.
fn summed(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    put(&mut bytes, 0..24, 24)?;
    let mut at = START;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("four")) & (u32::MAX >> 1);
        let body = at + HEAD..at + HEAD + length as usize;
        if bytes.get(body.clone()).is_some() {
            put(&mut bytes, body.clone(), at + 4)?;
        }
        if put(&mut bytes, at..at + 16, at + 16).is_none() {
            break;
        }
        at = body.end;
    }
    Some(bytes)
}

/// Puts the checksum of a range somewhere.
fn put(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) -> Option<()> {
    let sum = crc32fast::hash(bytes.get(of)?);
    bytes
        .get_mut(at..at + 4)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// A segment; accepted where it has a record.
pub(super) fn segment(data: &[u8]) -> bool {
    let accepted = read(data);
    summed(data).is_some_and(|summed| read(&summed)) || accepted
}

fn read(data: &[u8]) -> bool {
    let (mut last, mut bytes) = (0, START as u64);
    let counts = scan(data, |record: Record<'_>| {
        assert!(last < record.number, "numbers rise");
        last = record.number;
        let parts = [record.collapse, record.targets, record.payload];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        bytes += (HEAD + 26 + len) as u64;
        for part in parts {
            let stands = data.windows(part.len().max(1)).any(|window| window == part);
            assert!(part.is_empty() || stands, "nothing is made up");
        }
    });
    assert!(bytes <= counts.bytes.max(START as u64));
    assert!(counts.cut_bytes <= counts.bytes);
    let is_whole = counts.damaged == 0 && counts.cut_bytes == 0;
    assert!(!is_whole || bytes == counts.bytes, "every byte is told of");
    counts.records > 0
}
