//! What the threat model promises of the code: no unsafe code, and no memory by a length that a
//! peer declares.

use std::fs;

use super::{none, root, sources, uses};

#[test]
fn nothing_is_unsafe() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    assert!(
        manifest.contains("\nunsafe_code = \"deny\"\n"),
        "the compiler refuses unsafe code"
    );
    // An exception from the lint would have to name it; a comment that does can use other words.
    let words = ["unsafe_code", "unsafe ", "unsafe("];
    let mut found = Vec::new();
    for source in sources() {
        if source.path.starts_with("tests/") {
            continue;
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("unsafe code", found);
}

/// Where memory is reserved by a number that is no constant, and why it is ours.
const RESERVED: [(&str, &str, &str); 6] = [
    (
        "src/transport/auth/key.rs",
        "digits.len() / 2",
        "digits that are there, in the operator's file",
    ),
    (
        "src/transport/auth/provider.rs",
        "modulus_len",
        "the operator's own key, of 8,192 bits at most",
    ),
    (
        "src/wire/append.rs",
        "room - bytes.len()",
        "twice what has come, and the bound of a HELLO or a message at most",
    ),
    (
        "src/hub/message.rs",
        "PUSH_HEADER_BYTES + group.len() + extra",
        "a name of 255 bytes at most, and a payload that is there",
    ),
    ("src/hub/slots.rs", "reserve_exact(1)", "one more"),
    (
        "src/hub/registry.rs",
        "2 + attach.groups.len()",
        "groups that were decoded, and cut to clients.max_groups",
    ),
];

/// The layers that a peer's bytes go through.
const LAYERS: [&str; 3] = ["src/wire/", "src/hub/", "src/transport/"];

/// A decoder that trusts a length before it has the bytes gives a stranger memory for four bytes.
#[test]
fn memory_is_reserved_by_constants_alone() {
    let openings = [
        "with_capacity(",
        ".reserve(",
        ".reserve_exact(",
        ".resize(",
        "zeroed(",
        "vec![",
    ];
    let is_constant = |text: &str| {
        let letter = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        text.chars().all(|c| letter(c) || " _*".contains(c))
    };
    let found = uses(&openings, |path, line| {
        let by_constant = openings.iter().all(|opening| {
            line.split(opening).skip(1).all(|rest| match *opening {
                // A list of values has no semicolon, and is as long as it is written.
                "vec![" => rest.split_once("; ").is_none_or(|(_, length)| {
                    length
                        .split_once(']')
                        .is_some_and(|(length, _)| is_constant(length))
                }),
                _ => rest
                    .split_once(')')
                    .is_some_and(|(length, _)| is_constant(length)),
            })
        });
        // A place among the remembered requests is called so too.
        by_constant
            || line.contains("remembered.reserve(")
            || !LAYERS.iter().any(|layer| path.starts_with(layer))
            || RESERVED
                .iter()
                .any(|(file, what, _)| *file == path && line.contains(what))
    });
    none(
        "memory is reserved by a number that a peer may have given",
        found,
    );
}
