//! `pushgate token`: a JSON Web Token for a client.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::args;
use super::check;
use super::exit::{CommandResult, Exit, Failure};
use super::output;
use crate::clock::Clock;
use crate::daemon::settings::AuthMode;
use crate::transport::auth::{Algorithm, Key, Options, PEM_BYTES_MAX, SigningKey};

/// Make a token for a client, for a gateway in auth.mode "jwt"
///
/// The token is the one line on standard output: save it to a file that only its bearer can read,
/// for `pushgate listen --token-file`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate token --config pushgate.toml --user ada --group news --join 'room/*' --ttl 1h
  pushgate token --secret-file secret --user ada > ada.token
  pushgate token --key-file ed25519.pem --algorithm EdDSA --kid 2026-10 --user ada

Exit codes: 0 made, 1 failed, 2 usage, 64 the configuration or a key file.")]
pub(super) struct Token {
    /// The user: the token's sub
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: String,
    /// A group to be in at once; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: Vec<String>,
    /// A group that the client may join itself, or with a * at its end the beginning of such; may
    /// be given several times
    #[arg(long, value_name = "PATTERN")]
    join: Vec<String>,
    /// How long the token is good; in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = args::seconds)]
    ttl: u32,
    /// The gateway's own configuration: the algorithm, a secret and its kid, audience and issuer
    /// are taken from it where they are not given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the secret for HS256, in hex
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,
    /// A file with the private key for the other algorithms, as `openssl genpkey` writes it (PEM,
    /// not encrypted)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How to sign [default: HS256 with --secret-file, else that of --config]
    #[arg(long, value_name = "NAME", value_parser = algorithm_parser())]
    algorithm: Option<Algorithm>,
    /// The kid to write into the header: which of the gateway's keys it is [default: none, or that
    /// of the only key of --config]
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// The audience: the token's aud
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// The issuer: the token's iss
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

fn algorithm_parser() -> impl clap::builder::TypedValueParser<Value = Algorithm> {
    let words = PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::word));
    words.map(|word| {
        let named = Algorithm::ALL
            .into_iter()
            .find(|known| known.word() == word);
        named.expect("the word is one of these")
    })
}

impl Token {
    pub(super) fn run(self) -> CommandResult {
        let options = self.options()?;
        let configured = match &options {
            Some(options) => self.configured(options)?,
            None => None,
        };
        let key = self.key(configured.map(|(_, key)| key))?;
        let kid = configured.and_then(|(kid, _)| kid.clone());
        let kid = self.kid.clone().or(kid);
        let options = options.unwrap_or_default();
        let claims = self.claims(&options, Clock::system().now_ms() / 1_000);
        let token = key.sign(kid.as_deref(), &claims);
        let token = token.context("the key does not sign")?;
        output::line(token)?;
        Ok(Exit::Ok)
    }

    fn options(&self) -> Result<Option<Options>, Failure> {
        let Some(path) = &self.config else {
            return Ok(None);
        };
        match check::load(Some(path))?.auth.mode {
            AuthMode::Jwt(options) => Ok(Some(options)),
            AuthMode::None => {
                let path = path.display();
                let error =
                    anyhow::anyhow!("{path}: auth.mode is \"none\": the token is the user name");
                Err(Failure::configuration(error))
            }
        }
    }

    /// The key of the configuration that is meant, if it has such.
    fn configured<'o>(
        &self,
        options: &'o Options,
    ) -> Result<Option<&'o (Option<String>, Key)>, Failure> {
        let keys = &options.keys;
        let found = match (&self.kid, &keys[..]) {
            (None, [only]) => Some(only),
            (kid, keys) => keys.iter().find(|(known, _)| known == kid),
        };
        // A key of its own may get its kid in the configuration later.
        if found.is_none() && self.secret_file.is_none() && self.key_file.is_none() {
            let kids = keys.iter().filter_map(|(kid, _)| kid.as_deref());
            let kids = kids.collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!(
                "--kid names no key; there are: {kids}"
            )));
        }
        Ok(found)
    }

    fn key(&self, configured: Option<&Key>) -> Result<SigningKey, Failure> {
        let algorithm = self.algorithm.or(configured.map(Key::algorithm));
        if let Some(path) = &self.secret_file {
            if !matches!(algorithm, None | Some(Algorithm::Hs256)) {
                return Err(Failure::usage(
                    "a secret is for HS256; the others take --key-file",
                ));
            }
            let text = read(path).map_err(Failure::configuration)?;
            let key = Key::from_hex(text.trim());
            let key = key.with_context(|| format!("the secret in {} is none", path.display()));
            let key = key.map_err(Failure::configuration)?;
            return SigningKey::of_secret(&key).ok_or(Failure::usage("a secret is for HS256"));
        }
        if let Some(path) = &self.key_file {
            let Some(algorithm) = algorithm else {
                return Err(Failure::usage("--key-file needs --algorithm, or --config"));
            };
            let text = read(path).map_err(Failure::configuration)?;
            let key = SigningKey::from_private_pem(algorithm, &text);
            let key = key.with_context(|| format!("the key in {} is none", path.display()));
            return key.map_err(Failure::configuration);
        }
        let Some(key) = configured else {
            return Err(Failure::usage(
                "one of --config, --secret-file and --key-file is needed",
            ));
        };
        SigningKey::of_secret(key).ok_or_else(|| {
            Failure::usage("the gateway has a public key only: give the private one, --key-file")
        })
    }

    /// What the token says, made at `now_s` (unix seconds).
    fn claims(&self, options: &Options, now_s: u64) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(self.user));
        claims.insert("iat".to_owned(), json!(now_s));
        claims.insert("exp".to_owned(), json!(now_s + u64::from(self.ttl)));
        let audience = self.audience.as_ref().or(options.audience.as_ref());
        let issuer = self.issuer.as_ref().or(options.issuer.as_ref());
        for (claim, text) in [("aud", audience), ("iss", issuer)] {
            if let Some(text) = text {
                claims.insert(claim.to_owned(), json!(text));
            }
        }
        for (claim, list) in [("groups", &self.group), ("join", &self.join)] {
            if !list.is_empty() {
                claims.insert(claim.to_owned(), json!(list));
            }
        }
        claims
    }
}

/// A file with a key, no longer than the longest of them.
fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| {
        file.take(PEM_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
    });
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if PEM_BYTES_MAX < text.len() {
        anyhow::bail!("{} has more than {PEM_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            user: "ada".to_owned(),
            group: vec!["news".to_owned()],
            join: Vec::new(),
            ttl: 60,
            config: None,
            secret_file: None,
            key_file: None,
            algorithm: None,
            kid: None,
            audience: None,
            issuer: None,
        }
    }

    #[test]
    fn what_is_given_wins_over_the_configuration() {
        let options = Options {
            audience: Some("a".to_owned()),
            issuer: Some("i".to_owned()),
            ..Options::default()
        };
        let given = Token {
            audience: Some("b".to_owned()),
            ..token()
        };
        let claims = Value::from(given.claims(&options, 100));
        let expected = json!({
            "sub": "ada", "iat": 100, "exp": 160, "aud": "b", "iss": "i", "groups": ["news"],
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn without_a_key_it_says_what_is_missing() {
        let Err(Failure::Failed { exit, error }) = token().run() else {
            panic!("a token was made without a key");
        };
        assert_eq!(exit, Exit::Usage);
        assert!(error.to_string().contains("--secret-file"), "{error}");
        let public = Key::from_public_pem(
            Algorithm::EdDsa,
            include_str!("../../tests/data/tokens/eddsa.pub.pem"),
        );
        assert!(token().key(public.ok().as_ref()).is_err());
    }
}
