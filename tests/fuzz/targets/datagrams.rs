//! Datagrams as they arrive, and the same once more with a MAC that is right: a fuzzer does not
//! find one by itself, and would never see the parser behind it.

use pushgate::wire::datagram::{
    Header, Op, Request, RequestBody, Target, Unverified, Verified, encode_request,
};
use pushgate::wire::reason::RejectCause;
use pushgate::wire::reply::{Reply, decode_reply, encode_reply};
use pushgate::wire::seal::Key;
use ring::hmac;

/// Where the MAC stands.
const MAC: std::ops::Range<usize> = 32..64;

fn secret() -> [u8; 32] {
    std::array::from_fn(|index| index as u8)
}

fn key() -> Key {
    Key::new(&secret()).expect("32 bytes are enough")
}

/// The datagram with the MAC that belongs to it, made without the gateway's own code; `None` when
/// it is too short to have one.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = (data.get(..MAC.start)?, data.get(MAC.end..)?);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret());
    let mac = hmac::sign(&key, &[head, body].concat());
    Some([head, mac.as_ref(), body].concat())
}

/// A request from anybody, then from somebody who has the key.
pub(super) fn request(data: &[u8]) -> bool {
    let accepted = stranger(data);
    let Some(datagram) = sealed(data) else {
        return accepted;
    };
    let Ok(unverified) = Unverified::parse(&datagram) else {
        return accepted;
    };
    let mut changed = datagram.clone();
    // Which bit is for the input to say: any but those of the fields that are looked at before.
    let at = 4 + usize::from(datagram[16]) % (datagram.len() - 4);
    changed[at] ^= 1 << (datagram[17] % 8);
    let forged = Unverified::parse(&changed).expect("its first fields are as they were");
    assert_eq!(
        forged.verify(&key()).err(),
        Some(RejectCause::Mac),
        "bit of byte {at}"
    );
    let verified = unverified.verify(&key()).expect("the MAC is right");
    assert_eq!(verified.bytes(), datagram);
    authentic(&verified)
}

fn stranger(data: &[u8]) -> bool {
    let Ok(unverified) = Unverified::parse(data) else {
        return false;
    };
    let verified = unverified.verify(&key());
    assert_eq!(
        verified.is_ok(),
        sealed(data).is_some_and(|sealed| sealed == data)
    );
    match unverified.accept_unsigned() {
        Err(_) => verified.is_ok_and(|verified| authentic(&verified)),
        Ok(unsigned) => {
            let zeros = data[MAC].iter().all(|byte| *byte == 0);
            assert!(unverified.key_id() == 0 && zeros);
            authentic(&unsigned)
        }
    }
}

/// What is accepted says the same when it is encoded anew, to the byte.
fn authentic(verified: &Verified<'_>) -> bool {
    let request = match Request::decode(verified.op(), verified.body()) {
        Ok(request) => request,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert_eq!(request.op(), verified.op());
    let encoded = encode(verified.header(), &request, Some(&key()));
    assert_eq!(encoded[MAC.end..], *verified.body(), "{request:?}");
    assert_eq!(encoded[..MAC.start], verified.bytes()[..MAC.start]);
    assert_eq!(sealed(&encoded), Some(encoded.clone()), "the same MAC");
    let unsigned = encode(verified.header(), &request, None);
    assert_eq!(unsigned[MAC.end..], *verified.body());
    true
}

fn encode(header: &Header, request: &Request<'_>, key: Option<&Key>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |body: RequestBody<'_>| encode_request(&mut out, header, &body, key);
    match request {
        Request::Push(push) => put(RequestBody::Push {
            reply: push.reply,
            collapse: push.collapse,
            ttl_s: push.ttl_s,
            spread_ms: push.spread_ms,
            targets: &push.targets.iter().collect::<Vec<Target<'_>>>(),
            payload: push.payload,
        }),
        Request::Join(of) | Request::Leave(of) => {
            let (group, users) = (of.group, &of.users.iter().collect::<Vec<_>>()[..]);
            put(match request.op() {
                Op::Join => RequestBody::Join { group, users },
                _ => RequestBody::Leave { group, users },
            });
        }
        Request::Kick(kick) => put(RequestBody::Kick(*kick)),
        Request::Presence(targets) => put(RequestBody::Presence {
            targets: &targets.iter().collect::<Vec<Target<'_>>>(),
        }),
        Request::Ping(bytes) => put(RequestBody::Ping(bytes)),
    }
    out
}

/// A reply as a sender reads it: from anybody, then from a gateway that has the key.
pub(super) fn reply(data: &[u8]) -> bool {
    if decode_reply(data, Some(&key())).is_ok() {
        assert_eq!(sealed(data).as_deref(), Some(data));
    }
    if let Ok((header, reply)) = decode_reply(data, None) {
        assert_eq!(header.key_id, 0);
        assert_eq!(encode_answer(&header, &reply, None), data);
    }
    let Some(datagram) = sealed(data) else {
        return false;
    };
    match decode_reply(&datagram, Some(&key())) {
        Ok((header, reply)) => {
            if header.op == Op::Presence.code() {
                assert_eq!(reply.sessions().len() * 4, reply.tail.len());
            }
            assert_eq!(encode_answer(&header, &reply, Some(&key())), datagram);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn encode_answer(header: &Header, reply: &Reply<'_>, key: Option<&Key>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_reply(&mut out, header, header.time_ms, reply, key);
    out
}
