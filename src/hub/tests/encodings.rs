//! One message in several encodings: the same for every client, written once for each of them.

use super::*;
use crate::wire::reason::CloseCode;

/// Whatever of the four clients in two encodings, and however many targets there are.
#[test]
fn a_message_is_written_once_for_each_encoding() {
    let one: &[Target<'_>] = &[Target::All];
    let two = &[Target::Group("none"), Target::All];
    for targets in [one, two] {
        let bench = Bench::new(options());
        let devices = [("a", ""), ("b", ""), ("c", "web"), ("d", "web")];
        let sessions = devices.map(|(user, device)| bench.attach(user, device, &[]));
        for session in &sessions {
            session.sink().set_room(Some(1));
        }
        bench.push(targets, b"payload");
        let parts = sessions.each_ref().map(|session| {
            let inner = session.lock();
            let unsent = inner.unsent.as_ref().expect("begun");
            let [head, payload] = unsent.taken.frame();
            (head.as_ptr(), payload.as_ptr(), unsent.taken.encoding)
        });
        let [native, other_native, web, other_web] = parts;
        assert_eq!((native, web), (other_native, other_web));
        assert_ne!(native.0, web.0, "another head");
        if targets.len() > 1 {
            assert_eq!(native.1, web.1, "the same payload");
        }
        for session in &sessions {
            session.sink().set_room(None);
            assert_eq!(bench.pump(session), Pumped::Level);
            let all = (Scope::All, String::new(), b"payload".to_vec());
            assert_eq!(session.sink().pushes(), [all]);
        }
        assert_eq!(bench.hub.held(), (0, 0));
    }
}

#[test]
fn a_message_goes_on_in_its_encoding_at_whatever_byte_it_was_cut() {
    let bench = Bench::new(options());
    let web = bench.attach("web", "web", &["news"]);
    // Two and four bytes of header, and with a group.
    for size in [10, 300] {
        let payload = vec![b'x'; size];
        for room in 0..size + 20 {
            let before = web.sink().pushes().len();
            web.sink().set_room(Some(room));
            bench.push(&[Target::Group("news")], &payload);
            bench.push(&[Target::All], b"behind");
            web.sink().set_room(None);
            assert_eq!(bench.pump(&web), Pumped::Level);
            let seen = web.sink().pushes().split_off(before);
            let expected = [
                (Scope::Group, "news".to_owned(), payload.clone()),
                (Scope::All, String::new(), b"behind".to_vec()),
            ];
            assert_eq!(seen, expected, "cut after {room} bytes of {size}");
        }
    }
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn answers_and_the_close_are_said_as_the_sink_says_them() {
    let bench = Bench::new(options());
    let web = bench.attach("web", "web", &[]);
    bench.hub.answer(&*web, &GatewayFrame::Pong(b"ping"));
    bench
        .hub
        .answer_with(&*web, |out| put_message(out, &GatewayFrame::Pong(b"own")));
    bench.hub.answer_with(&*web, |_| {});
    let close = Closing::code(CloseCode::Kicked, 0, "kicked");
    bench.hub.close(&*web, close);
    bench.pump(&web);
    let said = |frame: &GatewayFrame<'_>| Seen::Other(format!("{frame:?}"));
    let frames = web.sink().frames();
    let last = &frames[frames.len() - 3..];
    let expected = [
        said(&GatewayFrame::Pong(b"ping")),
        said(&GatewayFrame::Pong(b"own")),
        said(&close.frame().expect("has a code")),
    ];
    assert_eq!(last, expected);
    assert!(web.is_idle());
}
