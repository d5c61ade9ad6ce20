//! What holds a secret: the keys of business services and the token of the admin door.

use std::io::Read;
use std::path::Path;

use super::reader::Table;
use super::{Key, Secret};
use crate::wire::datagram::Op;
use crate::wire::frame::Scope;
use crate::wire::seal;

/// A file that holds a secret is a line; more is the wrong file.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;
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
    if table.count("rate", 0, 0..=u32::MAX.into()) != 0 {
        table.problem(
            "rate",
            "a rate of a key is not in this version",
            "write 0: no bound",
        );
    }
    table.not_yet("not_before", "the lifetime of a key");
    table.not_yet("not_after", "the lifetime of a key");
    table.finish();
    Some(Key {
        id: id?,
        key: secret?,
        ops,
        scopes,
        groups,
    })
}

fn id(table: &Table<'_>) -> Option<u32> {
    if !table.is_set("id") {
        table.problem(
            "id",
            "a key without an id",
            "write id = 1, or another number below 2^32",
        );
    }
    // Asked for in any case, or it would count as unknown. 0 on the wire means unsigned.
    let id = table.count("id", 0, 1..=u32::MAX.into());
    u32::try_from(id).ok().filter(|id| *id != 0)
}

fn secret(table: &Table<'_>) -> Option<seal::Key> {
    let (inline, file) = (table.text("secret"), table.text("secret_file"));
    let (name, hex) = match (inline, file) {
        (Some(hex), None) => ("secret", hex.to_owned()),
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

/// The one line of a file, without the white space around it.
fn line_of(table: &Table<'_>, key: &str, path: &str) -> Option<String> {
    let path = table.document().resolve(path);
    match read_short(&path, SECRET_FILE_BYTES_MAX) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) => {
            let what = format!("{} cannot be read: {error}", path.display());
            table.problem(
                key,
                what,
                "relative paths start at the directory of this file",
            );
            None
        }
    }
}

/// A file of at most `max` bytes.
pub(super) fn read_short(path: &Path, max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(max + 1).read_to_string(&mut text)?;
    if max < text.len() as u64 {
        let what = format!("more than {max} bytes");
        return Err(std::io::Error::other(what));
    }
    Ok(text)
}
