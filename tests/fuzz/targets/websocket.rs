//! Streams of WebSocket frames: the first byte says who reads them and how long a message may be,
//! the rest is the stream.

use pushgate::wire::websocket::{CONTROL_MAX, Item, Parts, Side, decode};

/// What was read of a stream, with bytes of its own, and the code that tells why it ended: of two
/// faults in one head, either may be seen first.
type Read = (Vec<String>, Option<u16>);

/// Reads what comes in pieces of this size.
fn read(side: Side, stream: &[u8], piece: usize, max: usize) -> Read {
    let (mut arrived, mut parts): (Vec<u8>, Parts) = (Vec::new(), None);
    let mut items = Vec::new();
    for bytes in stream.chunks(piece) {
        arrived.extend_from_slice(bytes);
        loop {
            let (item, used) = match decode(side, &mut arrived, &mut parts, max) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(fault) => {
                    assert!([1002, 1003, 1007, 1009].contains(&fault.code()));
                    assert!(!fault.why().is_empty());
                    return (items, Some(fault.code()));
                }
            };
            assert!(0 < used);
            match &item {
                Item::Message(body) => assert!(body.len() <= max),
                Item::Ping(bytes) | Item::Pong(bytes) => assert!(bytes.len() <= CONTROL_MAX),
                Item::Close { reason, .. } => assert!(reason.len() <= CONTROL_MAX - 2),
                Item::Part => {}
            }
            items.push(format!("{item:?}"));
            arrived.drain(..used);
            assert!(parts.as_ref().is_none_or(|parts| parts.len() <= max));
        }
    }
    (items, None)
}

/// However the stream is cut, the same is read of it; nothing is over its bound.
pub(super) fn frames(data: &[u8]) -> bool {
    let Some((&first, stream)) = data.split_first() else {
        return false;
    };
    let side = match first % 2 {
        0 => Side::Gateway,
        _ => Side::Client,
    };
    let max = usize::from(first);
    let whole = read(side, stream, stream.len().max(1), max);
    assert_eq!(read(side, stream, 1, max), whole);
    assert_eq!(read(side, stream, 3, max), whole);
    !whole.0.is_empty() && whole.1.is_none()
}
