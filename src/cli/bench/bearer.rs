//! The tokens of clients, where they bear any: as long as real ones are.

use anyhow::Context;
use serde_json::json;

use super::load;
use crate::clock::Clock;
use crate::transport::auth::{Algorithm, Key, SigningKey};

/// Longer than any run takes.
const LIFETIME_S: u64 = 86_400;

/// What makes tokens that the gateway under test believes.
pub(super) struct Bearer {
    key: SigningKey,
    now_s: u64,
}

impl Bearer {
    /// With a secret in hex.
    pub(super) fn new(secret: &str) -> anyhow::Result<Self> {
        let key = Key::from_hex(secret).context("the secret of tokens")?;
        let key = SigningKey::of_secret(&key).context("a secret signs")?;
        let now_s = Clock::system().now_ms() / 1_000;
        Ok(Self { key, now_s })
    }

    /// What the gateway's configuration says, to believe them.
    pub(super) fn configuration(secret: &str) -> String {
        let algorithm = Algorithm::Hs256.word();
        format!("[auth]\nmode = \"jwt\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n")
    }

    /// The token of a client.
    pub(super) fn token(&self, client: usize) -> anyhow::Result<String> {
        let user = load::user(client);
        let claims = json!({
            "sub": user,
            "iss": "https://login.example.com/",
            "jti": format!("{user}-{}", self.now_s),
            "iat": self.now_s,
            "exp": self.now_s + LIFETIME_S,
            "join": ["room/*"],
        });
        let claims = claims.as_object().context("claims are an object")?;
        self.key.sign(None, claims).context("a token")
    }
}
