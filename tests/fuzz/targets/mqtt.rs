//! Streams of MQTT packets: the first byte says which version is spoken, the rest is the stream.

use pushgate::wire::mqtt::{
    ClientPacket, Filter, PACKET_BYTES_MAX, Packet, PacketError, Properties, ServerPacket, Version,
    split,
};

fn version(first: u8) -> Version {
    match first % 2 {
        0 => Version::V3,
        _ => Version::V5,
    }
}

/// Calls `one` for each packet; whether there was one that it took.
fn each(stream: &[u8], mut one: impl FnMut(&Packet<'_>) -> bool) -> bool {
    let (mut rest, mut accepted) = (stream, false);
    loop {
        match split(rest, PACKET_BYTES_MAX) {
            Ok(Some(packet)) => {
                assert!(2 <= packet.used && packet.body.len() < packet.used);
                let cut = split(&rest[..packet.used - 1], PACKET_BYTES_MAX);
                assert_eq!(cut, Ok(None), "a packet is whole only when it is");
                accepted |= one(&packet);
                rest = &rest[packet.used..];
            }
            Ok(None) => return accepted,
            Err(error) => {
                assert!(error.reason().is_error() && !error.to_string().is_empty());
                return accepted;
            }
        }
    }
}

fn refused(error: PacketError) -> bool {
    assert!(error.reason().is_error() && error.reason().word().is_some());
    assert!(!error.to_string().is_empty());
    false
}

/// All of them can be read again.
fn look_at(properties: Properties<'_>) {
    for (property, _) in properties.iter() {
        assert!(properties.has(property));
    }
}

/// What clients send: what is accepted is what its encoding says.
pub(super) fn from_client(data: &[u8]) -> bool {
    let Some((&first, stream)) = data.split_first() else {
        return false;
    };
    each(stream, |packet| {
        let version = version(first);
        let decoded = match ClientPacket::decode(packet, version) {
            Ok(decoded) => decoded,
            Err(error) => return refused(error),
        };
        if let ClientPacket::Subscribe { filters, .. } | ClientPacket::Unsubscribe { filters, .. } =
            &decoded
        {
            assert!(filters.iter().count() > 0);
            for subscription in filters.iter() {
                let _ = Filter::parse(subscription.filter);
            }
        }
        if let ClientPacket::Connect(connect) = &decoded {
            look_at(connect.properties);
        }
        let mut encoded = Vec::new();
        decoded.encode(version, &mut encoded);
        let again = split(&encoded, PACKET_BYTES_MAX)
            .expect("it was")
            .expect("it is whole");
        assert_eq!(again.used, encoded.len());
        assert_eq!(ClientPacket::decode(&again, version), Ok(decoded));
        true
    })
}

/// What servers send.
pub(super) fn from_server(data: &[u8]) -> bool {
    let Some((&first, stream)) = data.split_first() else {
        return false;
    };
    each(stream, |packet| {
        let version = version(first);
        let decoded = match ServerPacket::decode(packet, version) {
            Ok(decoded) => decoded,
            Err(error) => return refused(error),
        };
        let mut encoded = Vec::new();
        decoded.encode(version, &mut encoded);
        let again = split(&encoded, PACKET_BYTES_MAX)
            .expect("it was")
            .expect("it is whole");
        let again = ServerPacket::decode(&again, version);
        // 3.1.1 has one word for all that is wrong with a subscription.
        let exact = version == Version::V5 || !matches!(decoded, ServerPacket::SubAck { .. });
        assert!(!exact || again == Ok(decoded), "{decoded:?} is {again:?}");
        true
    })
}
