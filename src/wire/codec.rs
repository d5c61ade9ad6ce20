//! The gateway's frames out of a byte stream, for clients.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use super::frame::{FrameError, LENGTH_BYTES, split};

/// Splits a stream into the bodies of frames, for [`GatewayFrame::decode`] to read.
///
/// [`GatewayFrame::decode`]: super::frame::GatewayFrame::decode
#[derive(Clone, Copy, Debug)]
pub struct GatewayCodec {
    body_bytes_max: usize,
}

/// Why a stream has no further frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The gateway sent a frame of no length, or one over the limit.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream failed, or ended within a frame.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl GatewayCodec {
    /// A codec for frames of at most so many bytes of type and fields. A client that has no
    /// WELCOME yet expects one, or a CLOSE: 264 bytes at most.
    pub fn new(body_bytes_max: usize) -> Self {
        Self { body_bytes_max }
    }

    /// Sets the limit for the frames to come, as WELCOME's `max_frame` says.
    pub fn set_max(&mut self, body_bytes_max: usize) {
        self.body_bytes_max = body_bytes_max;
    }
}

impl Decoder for GatewayCodec {
    type Item = Bytes;
    type Error = CodecError;

    /// The body of the next frame. Nothing is reserved for a frame that is not there yet: the
    /// buffer grows with what arrives.
    fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Bytes>, CodecError> {
        let Some((_, consumed)) = split(stream, self.body_bytes_max)? else {
            return Ok(None);
        };
        let mut frame = stream.split_to(consumed).freeze();
        frame.advance(LENGTH_BYTES);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::{vector, vectors};

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let frames = vectors("frames");
        let stream: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let bodies: Vec<_> = frames
            .iter()
            .map(|(_, bytes)| &bytes[LENGTH_BYTES..])
            .collect();
        for piece in 1..=stream.len() {
            let (mut codec, mut arrived, mut decoded) =
                (GatewayCodec::new(64), BytesMut::new(), Vec::new());
            for bytes in stream.chunks(piece) {
                arrived.extend_from_slice(bytes);
                while let Some(body) = codec.decode(&mut arrived).unwrap() {
                    decoded.push(body);
                }
            }
            assert_eq!(decoded, bodies, "in pieces of {piece}");
            assert!(codec.decode_eof(&mut arrived).unwrap().is_none());
        }
    }

    #[test]
    fn a_declared_length_reserves_nothing() {
        let mut codec = GatewayCodec::new(usize::MAX);
        let mut arrived = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 130][..]);
        let capacity = arrived.capacity();
        assert!(codec.decode(&mut arrived).unwrap().is_none());
        assert_eq!((arrived.len(), arrived.capacity()), (5, capacity));
    }

    #[test]
    fn the_limit_can_be_raised_between_frames() {
        let welcome = vector("frames", "welcome_resumed");
        let mut codec = GatewayCodec::new(32);
        let mut arrived = BytesMut::from(&welcome[..]);
        let error = codec.decode(&mut arrived).unwrap_err();
        assert!(matches!(
            error,
            CodecError::Frame(FrameError::TooLong {
                length: 33,
                max: 32
            })
        ));
        codec.set_max(33);
        assert_eq!(
            codec.decode(&mut arrived).unwrap().unwrap(),
            welcome[LENGTH_BYTES..]
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_an_error() {
        let mut arrived = BytesMut::from(&vector("frames", "current")[..7]);
        let error = GatewayCodec::new(64).decode_eof(&mut arrived).unwrap_err();
        assert!(matches!(error, CodecError::Io(_)));
    }
}
