//! `[auth]`: who clients are, and the keys that their tokens are checked with.

use std::io::Read;
use std::path::Path;

use super::reader::Table;
use super::secrets::line_of;
use super::{Auth, AuthMode};
use crate::transport::auth::{Algorithm, Key, Options, PEM_BYTES_MAX};

/// Bytes of a kid: it stands in every token.
const KID_BYTES_MAX: usize = 255;

/// The keys that say something about a token, and nothing without one.
const OF_TOKENS: [&str; 7] = [
    "algorithm",
    "secret",
    "secret_file",
    "public_key_file",
    "audience",
    "issuer",
    "keys",
];

pub(super) fn auth(table: Table<'_>) -> Auth {
    let modes = [("none", false), ("jwt", true)];
    let is_jwt = table.choice("mode", false, &modes);
    let insecure = table.flag("insecure", false);
    let (options, own_key) = options(&table, is_jwt);
    if !is_jwt {
        // Most likely the mode was forgotten, and then anybody would be any user.
        for key in OF_TOKENS.into_iter().filter(|key| table.is_set(key)) {
            let what = "it is about JSON Web Tokens, and auth.mode is \"none\"";
            table.problem(key, what, "write mode = \"jwt\", or take the key out");
        }
    }
    table.finish();
    let mode = match is_jwt {
        true => AuthMode::Jwt(options),
        false => AuthMode::None,
    };
    Auth {
        mode,
        own_key,
        insecure,
    }
}

fn options(table: &Table<'_>, is_jwt: bool) -> (Options, Option<&'static str>) {
    let words = Algorithm::ALL.map(|algorithm| (algorithm.word(), Some(algorithm)));
    let default = table.choice("algorithm", None, &words);
    let audience = some_text(table, "audience");
    let issuer = some_text(table, "issuer");
    let tables = table.tables("keys").unwrap_or_default();
    let mut keys = Vec::new();
    // Asked for in any case, or they would count as unknown.
    let is_own = ["secret", "secret_file", "public_key_file"].map(|key| table.is_set(key));
    let own = material(table, default, is_own.contains(&true) && is_jwt);
    let (own_key, own) = own.unzip();
    keys.extend(own.map(|key| (None, key)));
    let is_empty = !is_own.contains(&true) && tables.is_empty();
    if is_jwt && is_empty {
        let way_out = "set algorithm, and secret_file (HS256) or public_key_file (the others)";
        table.problem("mode", "no key to check a token with", way_out);
    }
    let mut kids: Vec<&str> = Vec::new();
    for entry in tables {
        let kid = kid(&entry, &mut kids);
        let algorithm = entry.choice("algorithm", default, &words);
        let key = material(&entry, algorithm, true);
        entry.finish();
        keys.extend(kid.zip(key).map(|(kid, (_, key))| (Some(kid), key)));
    }
    let options = Options {
        keys,
        audience,
        issuer,
    };
    (options, own_key)
}

fn kid<'a>(table: &Table<'a>, seen: &mut Vec<&'a str>) -> Option<String> {
    let kid = table.text("kid");
    let Some(kid) = kid else {
        if !table.is_set("kid") {
            let way_out = "write kid = \"2026-10\", or whatever the tokens' headers say";
            table.problem("kid", "a key without a kid", way_out);
        }
        return None;
    };
    if kid.is_empty() || KID_BYTES_MAX < kid.len() {
        let way_out = format!("write 1 to {KID_BYTES_MAX} bytes");
        table.problem("kid", format!("{kid:?} cannot be a kid"), way_out);
    }
    if seen.contains(&kid) {
        let what = format!("a second key of the kid {kid:?}");
        table.problem("kid", what, "give each key a kid of its own");
    }
    seen.push(kid);
    Some(kid.to_owned())
}

/// The one key that a table holds, behind the name under which it stands there; `is_needed` where
/// there has to be one.
fn material(
    table: &Table<'_>,
    algorithm: Option<Algorithm>,
    is_needed: bool,
) -> Option<(&'static str, Key)> {
    let (secret, file) = (table.text("secret"), table.text("secret_file"));
    let public = table.text("public_key_file");
    if !is_needed {
        return None;
    }
    let Some(algorithm) = algorithm else {
        if !table.is_set("algorithm") {
            let way_out = "write algorithm = \"HS256\", \"EdDSA\", \"RS256\" or \"ES256\": \
                           never a token says how it is checked";
            table.problem("algorithm", "a key without an algorithm", way_out);
        }
        return None;
    };
    let is_hmac = algorithm == Algorithm::Hs256;
    let word = algorithm.word();
    if !is_hmac && (secret.is_some() || file.is_some()) {
        let key = if file.is_some() {
            "secret_file"
        } else {
            "secret"
        };
        let what = format!("{word} has no secret");
        table.problem(key, what, "write public_key_file, or algorithm = \"HS256\"");
        return None;
    }
    if is_hmac && public.is_some() {
        let way_out = "write secret_file, or another algorithm";
        table.problem("public_key_file", "HS256 has no public key", way_out);
        return None;
    }
    let (name, key) = match (secret, file, public) {
        (Some(_), Some(_), _) => {
            let what = "there is a secret_file too";
            table.problem("secret", what, "keep one of the two");
            return None;
        }
        (Some(hex), None, _) => ("secret", Key::from_hex(hex.trim())),
        (None, Some(path), _) => {
            let hex = line_of(table, "secret_file", path)?;
            ("secret_file", Key::from_hex(hex.trim()))
        }
        (None, None, Some(path)) => {
            let pem = pem_of(table, "public_key_file", path)?;
            ("public_key_file", Key::from_public_pem(algorithm, &pem))
        }
        (None, None, None) => {
            let name = if is_hmac {
                "secret_file"
            } else {
                "public_key_file"
            };
            // A value of another type has its own problem.
            if !["secret", "secret_file", "public_key_file"]
                .iter()
                .any(|key| table.is_set(key))
            {
                let what = format!("a key for {word}, and nothing to check with");
                table.problem(name, what, format!("set {name}"));
            }
            return None;
        }
    };
    key.inspect_err(|error| {
        let way_out = match is_hmac {
            true => "a secret is 32 bytes or more in hex, as `openssl rand -hex 32` writes them",
            false => "a public key is what `openssl pkey -in KEY -pubout` writes",
        };
        table.problem(name, error, way_out);
    })
    .ok()
    .map(|key| (name, key))
}

fn some_text(table: &Table<'_>, key: &'static str) -> Option<String> {
    let text = table.text(key)?;
    if text.is_empty() {
        table.problem(
            key,
            "empty",
            "take the key out where it shall not be checked",
        );
    }
    Some(text.to_owned())
}

/// A PEM file, which holds nothing secret.
fn pem_of(table: &Table<'_>, key: &str, path: &str) -> Option<String> {
    let path = table.document().resolve(path);
    read_pem(&path)
        .inspect_err(|error| {
            let what = format!("{} cannot be read: {error}", path.display());
            let way_out = "relative paths start at the directory of this file";
            table.problem(key, what, way_out);
        })
        .ok()
}

fn read_pem(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(PEM_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    if PEM_BYTES_MAX < text.len() {
        let what = format!("more than {PEM_BYTES_MAX} bytes");
        return Err(std::io::Error::other(what));
    }
    Ok(text)
}
