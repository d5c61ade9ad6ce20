//! What holds a secret: the keys of business services and the token of the admin door.

use zeroize::Zeroizing;

use super::reader::Table;
use super::secrets::line_of;
use super::sections::count_u32;
use super::{Key, Secret};
use crate::clock::Clock;
use crate::wire::datagram::Op;
use crate::wire::frame::Scope;
use crate::wire::seal;

/// Below this a token is guessed.
const TOKEN_BYTES_MIN: usize = 16;

pub(super) fn read(root: &Table<'_>) -> Vec<Key> {
    root.tables("keys")
        .unwrap_or_default()
        .into_iter()
        .filter_map(key)
        .collect()
}

fn key(table: Table<'_>) -> Option<Key> {
    let id = id(&table);
    let secret = secret(&table);
    let ops = table.choices("ops", &Op::ALL.map(|op| (op.word(), op)));
    let scopes = [
        ("all", Scope::All),
        ("user", Scope::User),
        ("group", Scope::Group),
    ];
    let scopes = table.choices("scopes", &scopes);
    let groups = groups(&table);
    let rate = count_u32(&table, "rate", 0);
    let (not_before_ms, not_after_ms) = (table.moment("not_before"), table.moment("not_after"));
    if let (Some(from), Some(until)) = (not_before_ms, not_after_ms)
        && until < from
    {
        let what = "it ends before it begins (not_before)";
        table.problem(
            "not_after",
            what,
            "write a later time, or take one of the two out",
        );
    }
    if not_after_ms.is_some_and(|until| until < Clock::system().now_ms()) {
        let what = "it is over: the key is unknown";
        let path = table.key("not_after");
        let way_out = "take the key out once nobody signs with it";
        table.document().warn(&path, what, way_out);
    }
    table.finish();
    Some(Key {
        id: id?,
        key: secret?,
        ops,
        scopes,
        groups,
        rate,
        not_before_ms,
        not_after_ms,
    })
}

fn id(table: &Table<'_>) -> Option<u32> {
    let way_out = "write a number from 1 to 4294967295, for each key another one";
    if !table.is_set("id") {
        table.problem("id", "a key without an id", way_out);
    }
    // Asked for in any case, or it would count as unknown.
    let typed = table.number("id")?;
    let id = u32::try_from(typed).ok().filter(|id| *id != 0);
    if id.is_none() {
        let what = match typed {
            0 => "0 is the id of datagrams without a key".to_owned(),
            _ => format!("{typed} is out of range"),
        };
        table.problem("id", what, way_out);
    }
    id
}

fn secret(table: &Table<'_>) -> Option<seal::Key> {
    let (inline, file) = (table.text("secret"), table.text("secret_file"));
    let (name, hex) = match (inline, file) {
        (Some(hex), None) => ("secret", Zeroizing::new(hex.to_owned())),
        (None, Some(path)) => ("secret_file", line_of(table, "secret_file", path)?),
        (Some(_), Some(_)) => {
            table.problem(
                "secret",
                "there is a secret_file too",
                "keep one of the two",
            );
            return None;
        }
        (None, None) => {
            if !table.is_set("secret") && !table.is_set("secret_file") {
                let way_out = "set secret_file (or secret) to 32 bytes or more in hex, \
                               as `openssl rand -hex 32` writes them";
                table.problem("secret", "a key without a secret", way_out);
            }
            return None;
        }
    };
    // The error says what is wrong without showing what was typed.
    let key = seal::Key::from_hex(hex.trim());
    key.inspect_err(|error| {
        let way_out = "a secret is 32 bytes or more in hex, as `openssl rand -hex 32` writes them";
        table.problem(name, error, way_out);
    })
    .ok()
}

fn groups(table: &Table<'_>) -> Option<Vec<String>> {
    let patterns = table.texts("groups")?;
    for (index, pattern) in patterns.iter().enumerate() {
        let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
        let odd = prefix.contains(|c: char| c == '*' || c.is_control());
        if pattern.is_empty() || 256 < pattern.len() || odd {
            let what = format!("{pattern:?} is not a group or a prefix of groups");
            let way_out = "write a name, or the beginning of names with one * at its end";
            table.problem(&format!("groups[{index}]"), what, way_out);
        }
    }
    Some(patterns.into_iter().map(str::to_owned).collect())
}

/// The admin token, from its file.
pub(super) fn token(table: &Table<'_>) -> Option<Secret> {
    let path = table.text("token_file")?;
    let token = line_of(table, "token_file", path)?;
    let odd = token.contains(|c: char| !c.is_ascii_graphic());
    if token.len() < TOKEN_BYTES_MIN || odd {
        let what = format!("the file holds no token of {TOKEN_BYTES_MIN} characters or more");
        let way_out = "write one line of letters and digits, as `openssl rand -hex 32` does";
        table.problem("token_file", what, way_out);
        return None;
    }
    Some(Secret(token))
}
