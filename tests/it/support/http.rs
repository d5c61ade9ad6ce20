//! A service that speaks HTTP, and holds every answer to the document that describes it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pushgate::clock::Clock;
use pushgate::wire::seal::Key;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

const DOCUMENT: &str = include_str!("../../../src/transport/admin/openapi.json");

pub(crate) const JSON: &str = "Content-Type: application/json";
pub(crate) const BYTES: &str = "Content-Type: application/octet-stream";

/// The document that the gateway serves.
pub(crate) fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("the document is JSON")
}

/// What an answer said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Said {
    /// Code and status, if it has one.
    pub(crate) fn told(&self) -> (u16, &str) {
        (self.code, self.body["status"].as_str().unwrap_or_default())
    }

    /// matched, written, waiting, refused.
    #[track_caller]
    pub(crate) fn counts(&self) -> [u64; 4] {
        ["matched", "written", "waiting", "refused"].map(|name| {
            let count = self.body[name].as_u64();
            count.unwrap_or_else(|| panic!("no {name} in {self:?}"))
        })
    }

    pub(crate) fn is_repeat(&self) -> bool {
        self.body["repeat"] == true
    }
}

/// A way to ask, with these headers in every request. Clones share what was seen.
#[derive(Clone)]
pub(crate) struct Api {
    admin: SocketAddr,
    credential: Vec<String>,
    key: Option<Arc<Key>>,
    /// Path, method and code of every answer.
    seen: Arc<Mutex<BTreeSet<(String, String, u16)>>>,
}

impl Api {
    /// Without a credential.
    pub(crate) fn unsigned(admin: SocketAddr) -> Self {
        Self {
            admin,
            credential: Vec::new(),
            key: None,
            seen: Arc::default(),
        }
    }

    /// With another credential; what was seen is seen by both.
    pub(crate) fn with(&self, credential: &[&str]) -> Self {
        Self {
            credential: credential.iter().map(|&line| line.to_owned()).collect(),
            key: None,
            ..self.clone()
        }
    }

    /// With the secret of a key.
    pub(crate) fn secret(&self, key_id: u32, secret: &str) -> Self {
        self.with(&[
            &format!("X-Pushgate-Key: {key_id}"),
            &format!("Authorization: Bearer {secret}"),
        ])
    }

    /// Signing with that key.
    pub(crate) fn signing(&self, key_id: u32, secret: &str) -> Self {
        Self {
            key: Some(Arc::new(Key::from_hex(secret).expect("a secret"))),
            ..self.with(&[&format!("X-Pushgate-Key: {key_id}")])
        }
    }

    /// Path, method and code of every answer so far.
    pub(crate) fn seen(&self) -> BTreeSet<(String, String, u16)> {
        self.seen.lock().expect("no holder panics").clone()
    }

    pub(crate) async fn post(&self, target: &str, json: &Value) -> Said {
        self.send("POST", target, &[JSON], json.to_string().as_bytes())
            .await
    }

    /// A push whose body is the payload.
    pub(crate) async fn push(&self, parameters: &str, payload: &[u8]) -> Said {
        self.send("POST", &format!("/v1/push?{parameters}"), &[BYTES], payload)
            .await
    }

    /// Asks and takes the answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Said {
        let request = self.request(method, target, headers, body);
        self.send_as_it_is(method, target, &request).await
    }

    /// The same with bytes that [`Self::request`] has made.
    pub(crate) async fn send_as_it_is(&self, method: &str, target: &str, request: &[u8]) -> Said {
        let what = format!("{method} {target:.80}");
        let answer = within(&what, answered(self.admin, request)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        let said = parsed(&answer).unwrap_or_else(|| panic!("{what}: {answer:?}"));
        let path = pattern(target.split('?').next().unwrap_or_default());
        documented(path, method, &said);
        let seen = (path.to_owned(), method.to_lowercase(), said.code);
        self.seen.lock().expect("no holder panics").insert(seen);
        said
    }

    /// The bytes of a request, with its credential.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Vec<u8> {
        let mut lines = vec![
            format!("{method} {target} HTTP/1.1"),
            format!("Host: {}", self.admin),
            "Connection: close".to_owned(),
            format!("Content-Length: {}", body.len()),
        ];
        lines.extend(self.credential.iter().cloned());
        lines.extend(headers.iter().map(|&line| line.to_owned()));
        if let Some(key) = &self.key {
            let value = |name: &str| {
                let line = headers.iter().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim_start_matches(": ").to_owned())
            };
            let time = value("X-Pushgate-Time").unwrap_or_else(|| {
                let now = Clock::system().now_ms().to_string();
                lines.push(format!("X-Pushgate-Time: {now}"));
                now
            });
            let name = value("Idempotency-Key").unwrap_or_default();
            let head = format!("{method}\n{target}\n{time}\n{name}\n");
            let mac = key.sign(&[head.as_bytes(), body]);
            let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!("X-Pushgate-Signature: {mac}"));
        }
        let head = lines.join("\r\n") + "\r\n\r\n";
        [head.as_bytes(), body].concat()
    }
}

/// The path as the document has it.
pub(crate) fn pattern(path: &str) -> &str {
    match path.strip_prefix("/v1/history/") {
        Some(_) => "/v1/history/{number}",
        None => path,
    }
}

async fn answered(admin: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(admin).await?;
    // It may answer, and close, before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Err(_) if !answer.is_empty() => Ok(answer),
        read => read.map(|_| answer),
    }
}

/// An answer whose body ends with the connection.
pub(crate) fn parsed(answer: &[u8]) -> Option<Said> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    let head = head.to_lowercase();
    Some(Said { code, head, body })
}

/// Asserts that the document has an answer of this code and form.
#[track_caller]
fn documented(path: &str, method: &str, said: &Said) {
    let document = document();
    let method = method.to_lowercase();
    let Some(operation) = document["paths"][path].get(&method) else {
        assert!([404, 405].contains(&said.code), "{method} {path}: {said:?}");
        return;
    };
    let response = &operation["responses"][said.code.to_string()];
    assert!(
        !response.is_null(),
        "{method} {path}: {said:?} stands nowhere"
    );
    let response = resolved(&document, response);
    let of_type = |essence: &str| {
        let header = format!("content-type: {essence}");
        said.head
            .contains(&header)
            .then(|| &response["content"][essence])
    };
    let content = of_type("application/json").or_else(|| of_type("text/plain"));
    let content = content.filter(|content| !content.is_null());
    let content = content.unwrap_or_else(|| panic!("{method} {path}: the type of {said:?}"));
    let fits = fits(&document, &content["schema"], &said.body);
    fits.unwrap_or_else(|why| panic!("{method} {path}: {why} in {said:?}"));
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let line = format!("\r\n{}:", name.to_lowercase());
        let has = said.head.contains(&line);
        assert!(has, "{method} {path}: no {name} ({header}) in {said:?}");
    }
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference is local");
            document
                .pointer(pointer)
                .expect("a reference leads somewhere")
        }
        None => value,
    }
}

/// Whether a value is what a schema says, as far as the schemas of answers go.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolved(document, schema);
    for (word, argument) in schema.as_object().ok_or("a schema is an object")? {
        let good = match word.as_str() {
            "description" => true,
            "type" => match argument.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_u64(),
                Some("boolean") => value.is_boolean(),
                other => return Err(format!("the type {other:?} is not known here")),
            },
            "minimum" => value.as_u64() >= argument.as_u64(),
            "maximum" => value.as_u64() <= argument.as_u64(),
            "enum" => argument.as_array().is_some_and(|list| list.contains(value)),
            "required" => argument.as_array().is_some_and(|names| {
                let has = |name: &Value| name.as_str().is_some_and(|name| !value[name].is_null());
                names.iter().all(has)
            }),
            "additionalProperties" => value.as_object().is_some_and(|fields| {
                let known = |name| !schema["properties"][name].is_null();
                fields.keys().all(known)
            }),
            "properties" => {
                for (name, schema) in argument.as_object().ok_or("properties are an object")? {
                    if let Some(value) = value.get(name) {
                        fits(document, schema, value).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    fits(document, argument, value)?;
                }
                true
            }
            "anyOf" => argument
                .as_array()
                .is_some_and(|list| list.iter().any(|one| fits(document, one, value).is_ok())),
            other => return Err(format!("{other} is not known here")),
        };
        if !good {
            return Err(format!("{value} is not {word} {argument}"));
        }
    }
    Ok(())
}
