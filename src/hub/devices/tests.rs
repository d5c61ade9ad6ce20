use super::*;

fn recalled(groups: &[&str], confirmed: u64) -> Recalled {
    let groups = groups.iter().map(|group| (*group).into()).collect();
    Recalled { groups, confirmed }
}

#[test]
fn what_was_given_outlives_a_connection_for_its_time() {
    let devices = Devices::default();
    assert_eq!(devices.recall("ada", "phone", 1, 0), recalled(&[], 0));
    devices.give("ada", "phone", 1, "room");
    devices.give("ada", "phone", 1, "room");
    devices.leave(("ada", "phone"), 1, 7, 100);
    assert_eq!(devices.gone(), 1);
    devices.give_to_gone("ada", 100, "news", 8);
    devices.give_to_gone("ada", 101, "late", 8);
    devices.give_to_gone("ada", 100, "many", 2);
    assert_eq!(
        devices.recall("ada", "phone", 2, 100),
        recalled(&["room", "news"], 7)
    );
    assert_eq!(devices.gone(), 0);
    devices.take_away("ada", Some("phone"), "room");
    devices.leave(("ada", "phone"), 2, 0, 200);
    assert_eq!(
        devices.recall("ada", "phone", 3, 201),
        recalled(&[], 7),
        "too late"
    );
}

#[test]
fn a_newer_session_keeps_its_place() {
    let devices = Devices::default();
    devices.give("ada", "", 1, "room");
    assert_eq!(devices.recall("ada", "", 2, 0), recalled(&["room"], 0));
    devices.leave(("ada", ""), 1, 9, 5);
    assert_eq!(devices.gone(), 0);
    devices.forget("ada", "");
    devices.leave(("ada", ""), 2, 0, 5);
    assert!(devices.is_empty(), "nothing is left to remember");
}

#[test]
fn the_longest_gone_is_forgotten_first() {
    let devices = Devices::default();
    let mut forgotten = 0;
    for number in 0..GONE_MAX as u64 + 3 {
        let user = format!("u{number}");
        devices.give(&user, "", number, "room");
        forgotten += devices.leave((&user, ""), number, 0, 1);
    }
    assert_eq!((forgotten, devices.gone()), (3, GONE_MAX));
    assert_eq!(devices.recall("u2", "", 1, 0), recalled(&[], 0));
    assert_eq!(devices.recall("u3", "", 1, 0), recalled(&["room"], 0));
    devices.expire(1, u64::MAX, 10);
    assert_eq!(devices.gone(), GONE_MAX - 1, "not before their time");
    devices.expire(2, u64::MAX, 10);
    assert_eq!(devices.gone(), GONE_MAX - 11);
}

#[test]
fn long_names_are_bounded_by_their_bytes() {
    let devices = Devices::default();
    let name = |number: usize| format!("{number:0>255}");
    let bytes = || lock(&devices.memory).gone_bytes;
    let each = DEVICE_BYTES + 4 * 255 + 8 * (GROUP_BYTES + 255);
    let fit = GONE_BYTES_MAX / each;
    let mut forgotten = 0;
    for number in 0..fit + 3 {
        let (user, device) = (name(number), name(0));
        for group in 0..8 {
            devices.give(&user, &device, 1, &name(group));
        }
        forgotten += devices.leave((&user, &device), 1, 0, 1);
    }
    assert_eq!((forgotten, devices.gone()), (3, fit));
    assert_eq!(bytes(), fit * each);
    assert_eq!(devices.recall(&name(2), &name(0), 2, 0), recalled(&[], 0));
    // What is given to who is gone counts as well, up to their bound, and so does what is taken.
    let last = name(fit + 2);
    let give = |group: &usize| devices.give_to_gone(&last, 1, &name(*group), 64);
    let one_too_many = (8..64).find(|group| give(group) == 1).expect("a bound");
    assert_eq!(devices.gone(), fit - 1);
    let more = (one_too_many - 7) * (GROUP_BYTES + 255);
    assert_eq!(bytes(), (fit - 1) * each + more);
    for group in 8..=one_too_many {
        devices.take_away(&last, None, &name(group));
    }
    devices.take_away(&last, None, "in none");
    assert_eq!(bytes(), (fit - 1) * each);
    devices.forget(&last, "");
    assert_eq!(bytes(), (fit - 1) * each - 8 * (GROUP_BYTES + 255));
    devices.recall(&last, &name(0), 2, 0);
    assert_eq!(bytes(), (fit - 2) * each);
    devices.expire(2, u64::MAX, fit);
    assert_eq!((devices.gone(), bytes()), (0, 0));
}

#[test]
fn who_has_confirmed_something_that_is_kept_is_remembered_for_longer() {
    let devices = Devices::default();
    devices.leave(("ada", ""), 1, 5, 1);
    devices.expire(100, 5, 10);
    assert_eq!(devices.gone(), 1);
    devices.expire(100, 6, 10);
    assert!(devices.is_empty());
}
