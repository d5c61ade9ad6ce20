//! What a HELLO costs while it comes in.

use super::*;

#[test]
fn a_hello_that_trickles_in_takes_no_more_than_a_whole_one() {
    let (mut bytes, max) = (Vec::new(), 1_000);
    for _ in 0..max {
        append(&mut bytes, b"x", max);
    }
    assert_eq!((bytes.len(), bytes.capacity()), (max, max));
}
