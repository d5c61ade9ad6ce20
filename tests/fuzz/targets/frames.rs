//! Streams of frames: the first byte says how the stream is cut, the rest is the stream.

use bytes::BytesMut;
use pushgate::wire::codec::{CodecError, GatewayCodec};
use pushgate::wire::frame::{
    ClientFrame, FrameError, GatewayFrame, LENGTH_BYTES, PROTOCOL_VERSION, Scope, push_header,
    split,
};
use tokio_util::codec::Decoder;

/// `clients.max_hello` and `clients.max_frame`, by default.
const HELLO_BYTES_MAX: usize = 16_384;
const FRAME_BYTES_MAX: usize = 4_096;
/// WELCOME's `max_frame`, by default.
const TO_CLIENT_BYTES_MAX: usize = 65_512;

/// Bodies of frames in their order, and why there is not another one, if that is known.
type Split = (Vec<Vec<u8>>, Option<FrameError>);

/// What clients send: frames are found wherever the stream is cut, and each that is accepted is
/// what its encoding says.
pub(super) fn from_client(data: &[u8]) -> bool {
    let Some((&cuts, stream)) = data.split_first() else {
        return false;
    };
    let max = |frames: usize| {
        if frames == 0 {
            HELLO_BYTES_MAX
        } else {
            FRAME_BYTES_MAX
        }
    };
    let whole = split_all([stream], max);
    assert_eq!(split_all(pieces(cuts, stream), max), whole, "cut by {cuts}");
    // Not `any`: every one is looked at.
    let accepted = whole.0.iter().filter(|body| client_frame(body)).count();
    // A body alone too, as a message of WebSocket.
    client_frame(stream) || 0 < accepted
}

fn split_all<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    max: impl Fn(usize) -> usize,
) -> Split {
    let (mut arrived, mut bodies) = (Vec::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match split(&arrived, max(bodies.len())) {
                Ok(None) => break,
                Ok(Some((body, consumed))) => {
                    assert_eq!(consumed, LENGTH_BYTES + body.len());
                    assert!(!body.is_empty() && body.len() <= max(bodies.len()));
                    bodies.push(body.to_vec());
                    arrived.drain(..consumed);
                }
                Err(error) => return (bodies, Some(error)),
            }
        }
    }
    (bodies, None)
}

/// The stream in pieces of 1 to 64 bytes that follow from `cuts`.
fn pieces(cuts: u8, stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Any state but 0 has a period of 2^32 - 1.
    let (mut state, mut rest) = (u32::from(cuts) + 1, stream);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let bytes = 1 + state as usize % 64;
        let (piece, left) = rest.split_at(bytes.min(rest.len()));
        rest = left;
        Some(piece)
    })
}

fn client_frame(body: &[u8]) -> bool {
    let frame = match ClientFrame::decode(body) {
        Ok(frame) => frame,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert_eq!(Some(&frame.frame_type()), body.first());
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    let (again, consumed) = split(&encoded, usize::MAX)
        .expect("what is encoded can be split")
        .expect("what is encoded is whole");
    assert_eq!(consumed, encoded.len());
    assert_eq!(ClientFrame::decode(again), Ok(frame));
    let exact = match frame {
        // What a later version adds is dropped, and so are a cursor and an epoch that mean nothing.
        ClientFrame::Hello(hello) => {
            assert_eq!(hello.groups.iter().count(), hello.groups.len());
            assert!(hello.resume || (hello.epoch, hello.cursor) == (0, 0));
            hello.resume && hello.version == PROTOCOL_VERSION
        }
        _ => true,
    };
    assert!(!exact || again == body, "{frame:?} is not {body:02x?}");
    true
}

/// What a gateway sends, out of the codec that clients use.
pub(super) fn from_gateway(data: &[u8]) -> bool {
    let Some((&cuts, stream)) = data.split_first() else {
        return false;
    };
    let whole = split_all([stream], |_| TO_CLIENT_BYTES_MAX);
    assert_eq!(codec_all(cuts, stream), whole, "cut by {cuts}");
    let accepted = whole.0.iter().filter(|body| gateway_frame(body)).count();
    gateway_frame(stream) || 0 < accepted
}

fn codec_all(cuts: u8, stream: &[u8]) -> Split {
    let mut codec = GatewayCodec::new(TO_CLIENT_BYTES_MAX);
    let (mut arrived, mut bodies) = (BytesMut::new(), Vec::new());
    for piece in pieces(cuts, stream) {
        arrived.extend_from_slice(piece);
        loop {
            match codec.decode(&mut arrived) {
                Ok(None) => break,
                Ok(Some(body)) => bodies.push(body.to_vec()),
                Err(CodecError::Frame(error)) => return (bodies, Some(error)),
                Err(CodecError::Io(error)) => panic!("a stream in memory failed: {error}"),
            }
        }
    }
    (bodies, None)
}

fn gateway_frame(body: &[u8]) -> bool {
    let frame = match GatewayFrame::decode(body) {
        Ok(frame) => frame,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert_eq!(Some(&frame.frame_type()), body.first());
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    assert_eq!(&encoded[LENGTH_BYTES..], body, "{frame:?}");
    assert_eq!(split(&encoded, usize::MAX), Ok(Some((body, encoded.len()))));
    if let GatewayFrame::Push {
        number,
        scope,
        group,
        payload,
    } = frame
    {
        assert_eq!(scope == Scope::Group, !group.is_empty());
        let mut parts = Vec::new();
        push_header(&mut parts, number, scope, group, payload.len());
        parts.extend_from_slice(payload);
        assert_eq!(parts, encoded, "a header before a payload that it shares");
    }
    true
}
