//! Reason codes of MQTT 5 (2.4), and what they are in 3.1.1.

use std::fmt;

use super::super::reason::CloseCode;

/// A reason code. Those from 0x80 on say that something was not done.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ReasonCode(pub u8);

/// Defines the codes with their names in the standard.
macro_rules! codes {
    ($($(#[$about:meta])* $name:ident = $code:literal $word:literal,)+) => {
        impl ReasonCode {
            $($(#[$about])* pub const $name: Self = Self($code);)+

            /// Every code with a name here.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self($code)),+];

            /// What the standard calls it; a code that has no name here has none.
            pub const fn word(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($word),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Done; or the connection ends in order; or QoS 0 is granted.
    SUCCESS = 0x00 "success",
    /// QoS 1 is granted.
    GRANTED_QOS_1 = 0x01 "granted QoS 1",
    /// QoS 2 is granted.
    GRANTED_QOS_2 = 0x02 "granted QoS 2",
    /// The connection ends, and the will shall be published.
    DISCONNECT_WITH_WILL = 0x04 "disconnect with will message",
    /// Received, and nobody has subscribed.
    NO_MATCHING_SUBSCRIBERS = 0x10 "no matching subscribers",
    /// There was no such subscription.
    NO_SUBSCRIPTION_EXISTED = 0x11 "no subscription existed",
    /// Not done, and no word on why.
    UNSPECIFIED = 0x80 "unspecified error",
    /// The packet is none.
    MALFORMED_PACKET = 0x81 "malformed packet",
    /// The packet has no place here.
    PROTOCOL_ERROR = 0x82 "protocol error",
    /// Valid, and not done here.
    IMPLEMENTATION_SPECIFIC = 0x83 "implementation specific error",
    /// Not a version that is spoken here.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84 "unsupported protocol version",
    /// The client identifier is not taken.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85 "client identifier not valid",
    /// It is not clear who the client is.
    BAD_USER_NAME_OR_PASSWORD = 0x86 "bad user name or password",
    /// Not allowed.
    NOT_AUTHORIZED = 0x87 "not authorized",
    /// Not now.
    SERVER_UNAVAILABLE = 0x88 "server unavailable",
    /// Too busy.
    SERVER_BUSY = 0x89 "server busy",
    /// Not this client.
    BANNED = 0x8a "banned",
    /// The server leaves.
    SERVER_SHUTTING_DOWN = 0x8b "server shutting down",
    /// No such authentication.
    BAD_AUTHENTICATION_METHOD = 0x8c "bad authentication method",
    /// Nothing came for one and a half times the keep alive.
    KEEP_ALIVE_TIMEOUT = 0x8d "keep alive timeout",
    /// Another connection has taken over.
    SESSION_TAKEN_OVER = 0x8e "session taken over",
    /// Well-formed, and not one that can be had.
    TOPIC_FILTER_INVALID = 0x8f "topic filter invalid",
    /// Not a topic here.
    TOPIC_NAME_INVALID = 0x90 "topic name invalid",
    /// The identifier is in use.
    PACKET_IDENTIFIER_IN_USE = 0x91 "packet identifier in use",
    /// Too many at a time.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93 "receive maximum exceeded",
    /// An alias over the maximum, or 0.
    TOPIC_ALIAS_INVALID = 0x94 "topic alias invalid",
    /// Over the maximum packet size.
    PACKET_TOO_LARGE = 0x95 "packet too large",
    /// Too fast.
    MESSAGE_RATE_TOO_HIGH = 0x96 "message rate too high",
    /// Over a bound.
    QUOTA_EXCEEDED = 0x97 "quota exceeded",
    /// Somebody has ended it.
    ADMINISTRATIVE_ACTION = 0x98 "administrative action",
    /// The payload is not what it says.
    PAYLOAD_FORMAT_INVALID = 0x99 "payload format invalid",
    /// Nothing is retained here.
    RETAIN_NOT_SUPPORTED = 0x9a "retain not supported",
    /// Not this QoS.
    QOS_NOT_SUPPORTED = 0x9b "QoS not supported",
    /// Elsewhere, for now.
    USE_ANOTHER_SERVER = 0x9c "use another server",
    /// Elsewhere, for good.
    SERVER_MOVED = 0x9d "server moved",
    /// No shared subscriptions here.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e "shared subscriptions not supported",
    /// Too many connections at a time.
    CONNECTION_RATE_EXCEEDED = 0x9f "connection rate exceeded",
    /// The time of the authorisation has ended.
    MAXIMUM_CONNECT_TIME = 0xa0 "maximum connect time",
    /// No identifiers of subscriptions here.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1 "subscription identifiers not supported",
    /// Not with these wildcards.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xa2 "wildcard subscriptions not supported",
}

impl ReasonCode {
    /// Whether something was not done.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// What a client of version 5 is told when its connection ends, or never begins, for `code`.
    pub const fn of(code: CloseCode) -> Self {
        match code {
            CloseCode::Draining => Self::SERVER_SHUTTING_DOWN,
            CloseCode::Replaced => Self::SESSION_TAKEN_OVER,
            CloseCode::Kicked => Self::ADMINISTRATIVE_ACTION,
            CloseCode::Slow | CloseCode::TooMany => Self::QUOTA_EXCEEDED,
            CloseCode::Heartbeat => Self::KEEP_ALIVE_TIMEOUT,
            CloseCode::Protocol => Self::PROTOCOL_ERROR,
            CloseCode::Auth => Self::NOT_AUTHORIZED,
            CloseCode::Expired => Self::MAXIMUM_CONNECT_TIME,
            // Known only before CONNECT, when nothing may be said, or for a packet never finished.
            CloseCode::HandshakeTimeout => Self::UNSPECIFIED,
        }
    }

    /// What a CONNACK of version 5 says when the client is not let in for `code`: it knows fewer
    /// codes than DISCONNECT does (3.2.2.2).
    pub const fn of_refusal(code: CloseCode) -> Self {
        match code {
            CloseCode::Draining => Self::SERVER_UNAVAILABLE,
            CloseCode::Kicked => Self::BANNED,
            CloseCode::Auth | CloseCode::Expired => Self::NOT_AUTHORIZED,
            CloseCode::Slow | CloseCode::TooMany => Self::QUOTA_EXCEEDED,
            CloseCode::Protocol => Self::PROTOCOL_ERROR,
            CloseCode::Replaced | CloseCode::Heartbeat | CloseCode::HandshakeTimeout => {
                Self::UNSPECIFIED
            }
        }
    }

    /// The return code of a CONNACK of 3.1.1 (3.2.2.3) for the same thing.
    pub const fn return_code(self) -> u8 {
        match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED | Self::MAXIMUM_CONNECT_TIME => 5,
            _ => 3,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.write_str(word),
            None => write!(f, "reason {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} ({self})", self.0)
    }
}
