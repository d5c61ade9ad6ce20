//! What is known of a session that has ended.

use super::*;
use crate::hub::Closing;
use crate::wire::reason::CloseCode;

#[test]
fn what_was_ahead_of_a_session_is_known_after_its_end() {
    let bench = Bench::new(options());
    let [slow, quick] = ["slow", "quick"].map(|user| bench.attach(user, "", &[]));
    slow.sink().set_room(Some(0));
    for _ in 0..3 {
        bench.push(&[Target::All], b"four");
    }
    assert_eq!(slow.ahead_at_end().messages, 0, "it has not ended");
    for session in [&slow, &quick] {
        let close = Closing::code(CloseCode::Kicked, 0, "kicked");
        bench.hub.close(&**session, close);
        bench.pump(session);
    }
    // Also once its CLOSE is on its way, and nothing waits any more.
    slow.sink().set_room(None);
    assert_eq!(bench.pump(&slow), Pumped::Level);
    let ahead = slow.ahead_at_end();
    assert_eq!((ahead.messages, ahead.oldest), (3, Some(bench.start)));
    assert_eq!(quick.ahead_at_end(), Default::default());
}
