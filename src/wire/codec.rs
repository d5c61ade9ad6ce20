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
