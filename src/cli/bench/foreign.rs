//! Protocols that are not ours, as far as a measurement needs them: MQTT 5, and NATS beside it.
//! What comes is told as what it is in ours.

use std::io::Write;
use std::net::TcpStream;

use anyhow::Context;

use super::parser::{OutOfStep, STAMP_BYTES};
use crate::wire::frame::{CLOSE, ClientFrame, LENGTH_BYTES, PING, PUSH, WELCOME};
use crate::wire::mqtt::{
    self, Connect, Properties, Publish, Qos, Subscription, Version, encode_subscribe,
};

/// The topic of what is pushed to everybody.
const ALL: &str = "all";
/// DISCONNECT.
pub(super) const MQTT_BYE: &[u8] = &[mqtt::DISCONNECT << 4, 0];
/// A client that wants to be told of one subject; the PONG says that it is in.
pub(super) const NATS_OPENING: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB all 1\r\nPING\r\n";
/// A sender.
pub(super) const NATS_SENDER: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
/// Bytes of a PUSH in front of its stamp: type, number, scope, and the length of no group.
const PUSH_HEAD: usize = 1 + 8 + 1 + 1;

/// CONNECT, and right behind it SUBSCRIBE to what a native client gets, of a HELLO. The user is the
/// client identifier too: to another server that has to be one for each client.
pub(super) fn mqtt_opening(hello: &[u8]) -> anyhow::Result<Vec<u8>> {
    let body = hello.get(LENGTH_BYTES..).context("a HELLO")?;
    let ClientFrame::Hello(hello) = ClientFrame::decode(body).context("a HELLO")? else {
        anyhow::bail!("not a HELLO");
    };
    let user = std::str::from_utf8(hello.token).context("a user")?;
    let mut bytes = mqtt_connect(user, hello.heartbeat_s);
    let filters = ["user", ALL].map(|filter| Subscription::new(filter, Qos::AtMostOnce));
    encode_subscribe(&mut bytes, Version::V5, 1, Properties::default(), filters);
    Ok(bytes)
}

/// CONNECT of this user.
pub(super) fn mqtt_connect(user: &str, keep_alive_s: u16) -> Vec<u8> {
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s,
        client_id: user,
        will: None,
        user_name: Some(user),
        password: None,
        properties: Properties::default(),
    };
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    bytes
}

/// PUBLISH to everybody.
pub(super) fn mqtt_publish(payload: &[u8], out: &mut Vec<u8>) {
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: ALL,
        packet_id: 0,
        properties: Properties::default(),
        payload,
    };
    publish.encode(Version::V5, out);
}

/// The same for NATS.
pub(super) fn nats_publish(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PUB {ALL} {}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Answers a PING of NATS.
pub(super) fn nats_pong(mut stream: &TcpStream) {
    // A client that cannot say it is lost anyway, which the next read tells.
    let _ = stream.write(b"PONG\r\n");
}

/// How many bytes stand before the body of a packet, and how many it has.
pub(super) fn mqtt_beginning(bytes: &[u8]) -> Result<Option<(usize, u64)>, OutOfStep> {
    let mut length = 0;
    for (place, digit) in bytes.iter().skip(1).take(4).enumerate() {
        length |= u64::from(digit & 0x7f) << (7 * place);
        if digit & 0x80 == 0 {
            return Ok(Some((2 + place, length)));
        }
    }
    match bytes.len() < 5 {
        true => Ok(None),
        false => Err(OutOfStep::Frame),
    }
}

/// The same of a line of NATS, whose payload is its body.
pub(super) fn nats_beginning(
    bytes: &[u8],
    longest: usize,
) -> Result<Option<(usize, u64)>, OutOfStep> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < longest {
            true => Ok(None),
            false => Err(OutOfStep::Frame),
        };
    };
    let line = bytes[..end].trim_ascii_end();
    if !line.starts_with(b"MSG ") {
        return Ok(Some((end + 1, 0)));
    }
    let size = line.rsplit(|byte| *byte == b' ').next();
    let size = size.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    // Behind the payload there is the end of a line.
    let size = size.ok_or(OutOfStep::Frame)?;
    Ok(Some((end + 1, size + 2)))
}

/// A message with this stamp, as a PUSH.
fn push(stamp: Option<&[u8; STAMP_BYTES]>, frame: &mut impl FnMut(&[u8])) {
    let mut body = [0; PUSH_HEAD + STAMP_BYTES];
    body[0] = PUSH;
    body[PUSH_HEAD..].copy_from_slice(stamp.unwrap_or(&[0; STAMP_BYTES]));
    frame(&body);
}

/// Tells of a packet, of which all is there or as much as is looked at.
pub(super) fn tell_mqtt(whole: &[u8], prefix: usize, frame: &mut impl FnMut(&[u8])) {
    let (Some(first), Some(body)) = (whole.first(), whole.get(prefix..)) else {
        return;
    };
    match (first >> 4, body) {
        (mqtt::PUBLISH, [high, low, ..]) => {
            let topic = usize::from(u16::from_be_bytes([*high, *low]));
            let id = if first & 0x06 == 0 { 0 } else { 2 };
            let properties = 2 + topic + id;
            let length = body.get(properties).copied().unwrap_or_default();
            let payload = properties + 1 + usize::from(length);
            push(body.get(payload..).and_then(<[u8]>::first_chunk), frame);
        }
        (mqtt::SUBACK, _) => frame(&[WELCOME, 0, 0]),
        (mqtt::CONNACK, [_, code @ 0x80..=0xff, ..]) | (mqtt::DISCONNECT, [code, ..]) => {
            frame(&[CLOSE, 0, *code]);
        }
        _ => {}
    }
}

/// The same of a line.
pub(super) fn tell_nats(whole: &[u8], prefix: usize, frame: &mut impl FnMut(&[u8])) {
    match whole {
        [b'M', ..] => push(whole.get(prefix..).and_then(<[u8]>::first_chunk), frame),
        [b'P', b'O', ..] => frame(&[WELCOME, 0, 0]),
        [b'P', b'I', ..] => frame(&[PING]),
        [b'-', ..] => frame(&[CLOSE, 0, 0]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::Parser;
    use super::*;
    use crate::wire::mqtt::{ConnAck, ReasonCode, ServerPacket};

    fn told(mut parser: Parser, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut told = Vec::new();
        for piece in bytes.chunks(size) {
            let mut note = |body: &[u8]| told.push(body.to_vec());
            parser.feed(piece, &mut note).unwrap();
        }
        told
    }

    fn pushed(payload: &[u8]) -> Vec<u8> {
        let mut body = vec![PUSH];
        body.resize(PUSH_HEAD, 0);
        body.extend_from_slice(&payload[..STAMP_BYTES]);
        body
    }

    #[test]
    fn packets_of_mqtt_are_told_however_the_stream_is_cut() {
        let (reason, properties) = Default::default();
        let mut bytes = Vec::new();
        let connack = ConnAck {
            session_present: false,
            reason,
            properties,
        };
        ServerPacket::ConnAck(connack).encode(Version::V5, &mut bytes);
        let suback = ServerPacket::SubAck {
            packet_id: 1,
            properties,
            codes: &[0, 0],
        };
        suback.encode(Version::V5, &mut bytes);
        let payload: Vec<u8> = (0..=255).collect();
        for size in [12, 128, 256] {
            mqtt_publish(&payload[..size], &mut bytes);
        }
        ServerPacket::PingResp.encode(Version::V5, &mut bytes);
        let reason = ReasonCode::SERVER_SHUTTING_DOWN;
        let ended = ServerPacket::Disconnect { reason, properties };
        ended.encode(Version::V5, &mut bytes);
        let push = pushed(&payload);
        let expected = [
            &[WELCOME, 0, 0][..],
            &push,
            &push,
            &push,
            &[CLOSE, 0, reason.0],
        ];
        for size in 1..=bytes.len() {
            assert_eq!(
                told(Parser::mqtt(), &bytes, size),
                expected,
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn lines_of_nats_are_told_however_the_stream_is_cut() {
        let mut bytes = b"INFO {\"a long line\":true,\"of\":\"json\"}\r\nPONG\r\n".to_vec();
        let payload: Vec<u8> = (0..=255).collect();
        for size in [12, 128, 256] {
            bytes.extend_from_slice(format!("MSG all 1 {size}\r\n").as_bytes());
            bytes.extend_from_slice(&payload[..size]);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"PING\r\n-ERR 'Stale'\r\n");
        let push = pushed(&payload);
        let expected = [
            &[WELCOME, 0, 0][..],
            &push,
            &push,
            &push,
            &[PING],
            &[CLOSE, 0, 0],
        ];
        for size in 1..=bytes.len() {
            assert_eq!(
                told(Parser::nats(), &bytes, size),
                expected,
                "in pieces of {size}"
            );
        }
        let mut parser = Parser::nats();
        parser.feed(b"INFO\n", &mut |_| {}).unwrap();
        assert!(
            parser.feed(&[b'x'; 100], &mut |_| {}).is_err(),
            "no line is so long"
        );
    }

    #[test]
    fn an_opening_is_what_a_gateway_takes() {
        let mut hello = Vec::new();
        super::super::load::hello(7, &[], &mut hello);
        let bytes = mqtt_opening(&hello).unwrap();
        let connect = mqtt::split(&bytes, bytes.len()).unwrap().unwrap();
        let decoded = mqtt::ClientPacket::decode(&connect, Version::V5).unwrap();
        assert!(matches!(decoded, mqtt::ClientPacket::Connect(_)));
        let rest = mqtt::split(&bytes[connect.used..], bytes.len())
            .unwrap()
            .unwrap();
        let decoded = mqtt::ClientPacket::decode(&rest, Version::V5).unwrap();
        assert!(matches!(decoded, mqtt::ClientPacket::Subscribe { .. }));
    }
}
