//! What the clients of a measurement speak: what they send, as it stands there.

use std::net::TcpStream;

use super::parser::Parser;
use super::{crowd, foreign, web};
use crate::wire::encoding::Protocol;
use crate::wire::frame::ClientFrame;

/// A protocol of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// The gateway's own.
    #[default]
    Native,
    /// The same in messages of WebSocket.
    Web,
    /// MQTT 5.
    Mqtt,
    /// That of another server, for measurements beside it.
    Nats,
}

impl Speech {
    /// As a listener of a gateway has it.
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Native | Self::Nats => Protocol::Native,
            Self::Web => Protocol::WebSocket,
            Self::Mqtt => Protocol::Mqtt,
        }
    }

    /// All that a client says before it is let in, given as a HELLO.
    pub(super) fn opening(self, hello: &[u8]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Native => Ok(hello.to_vec()),
            Self::Web => Ok(web::opening(hello)),
            Self::Mqtt => foreign::mqtt_opening(hello),
            Self::Nats => Ok(foreign::NATS_OPENING.to_vec()),
        }
    }

    /// For what the server says.
    pub(super) fn parser(self) -> Parser {
        match self {
            Self::Native => Parser::default(),
            Self::Web => Parser::web(),
            Self::Mqtt => Parser::mqtt(),
            Self::Nats => Parser::nats(),
        }
    }

    /// What a client says that leaves.
    pub(super) fn bye(self) -> Vec<u8> {
        let mut bye = Vec::new();
        ClientFrame::Bye.encode(&mut bye);
        match self {
            Self::Native => bye,
            Self::Web => web::message(&bye),
            Self::Mqtt => foreign::MQTT_BYE.to_vec(),
            // It has no word for it: the end of the stream is one.
            Self::Nats => Vec::new(),
        }
    }

    /// Answers a ping of the server.
    pub(super) fn pong(self, stream: &TcpStream, bytes: &[u8]) {
        match self {
            Self::Native => crowd::pong(stream, bytes),
            Self::Web => web::pong(stream),
            // A server of MQTT does not ask.
            Self::Mqtt => {}
            Self::Nats => foreign::nats_pong(stream),
        }
    }
}
