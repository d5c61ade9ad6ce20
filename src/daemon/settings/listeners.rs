//! The doors for clients: address, TLS, and who may stand before them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use rustls::ServerConfig;

use super::reader::Table;
use super::sections::loopback;
use super::{Listener, Protocol};
use crate::daemon::systemd;
use crate::transport::tls::config::{self, File};

/// Chain and key of a door, read and found to belong together.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// The files, for people.
    cert: PathBuf,
    key: PathBuf,
    /// Of what stood in them.
    digest: config::Digest,
}

impl Tls {
    /// As the door takes it.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The files of the chain and of the key.
    pub fn files(&self) -> (&Path, &Path) {
        (&self.cert, &self.key)
    }
}

/// The same files with the same contents.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files() == other.files() && self.digest == other.digest
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(root: &Table<'_>) -> Vec<Listener> {
    let Some(tables) = root.tables("listeners") else {
        return vec![Listener {
            name: "native".to_owned(),
            address: loopback(7400),
            protocol: Protocol::Native,
            origins: Vec::new(),
            tls: None,
            trusted: None,
        }];
    };
    tables.into_iter().map(listener).collect()
}

fn listener(table: Table<'_>) -> Listener {
    let name = table.text("name").unwrap_or("native");
    // The rules of systemd's FileDescriptorName=.
    if name.is_empty() || 255 < name.len() || name.contains(|c: char| c == ':' || c.is_control()) {
        let way_out = "write 1 to 255 characters, none a colon or a control character";
        table.problem(
            "name",
            format!("{name:?} cannot be the name of a listener"),
            way_out,
        );
    }
    if [systemd::UDP, systemd::ADMIN].contains(&name) {
        let what = format!("{name:?} is the name of the socket of another door");
        table.problem("name", what, "give the listener another name");
    }
    let address = table.address("address", loopback(7400));
    let protocol = protocol(&table);
    let tls = tls(&table);
    let trusted = trusted(&table);
    let origins = origins(&table, protocol);
    table.finish();
    Listener {
        name: name.to_owned(),
        address,
        protocol,
        origins,
        tls,
        trusted,
    }
}

fn protocol(table: &Table<'_>) -> Protocol {
    let word = table.text("protocol").unwrap_or("native");
    if let Some(known) = Protocol::from_word(word) {
        return known;
    }
    let what = format!("unknown protocol {word:?}");
    let words = Protocol::ALL.map(|known| format!("{:?}", known.word()));
    table.problem("protocol", what, format!("write {}", words.join(" or ")));
    Protocol::Native
}

/// The pages that may connect to a WebSocket. They are compared byte by byte with what browsers
/// send (RFC 6454, section 6.2), so what no browser would send is a mistake.
fn origins(table: &Table<'_>, protocol: Protocol) -> Vec<String> {
    let origins = table.texts("origins").unwrap_or_default();
    if protocol != Protocol::WebSocket && table.is_set("origins") {
        let what = "only a WebSocket comes from a page";
        let way_out = "write protocol = \"websocket\", or take the key out";
        table.problem("origins", what, way_out);
        return Vec::new();
    }
    for (index, origin) in origins.iter().enumerate() {
        if let Err((why, way_out)) = check_origin(origin) {
            let what = format!("{origin:?} {why}");
            table.problem(&format!("origins[{index}]"), what, way_out);
        }
    }
    origins.into_iter().map(str::to_owned).collect()
}

fn check_origin(origin: &str) -> Result<(), (&'static str, &'static str)> {
    if origin == "*" {
        return Err((
            "would let every page in the world connect as whoever opens it",
            "name the pages: origins = [\"https://app.example\"]",
        ));
    }
    let form = Err((
        "is no origin",
        "write scheme://host, with :port where the page's address has one, and nothing behind it",
    ));
    let Some((scheme, rest)) = origin.split_once("://") else {
        return form;
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_host = |c: char| c.is_ascii_graphic() && !"/?#@\\\"".contains(c);
    if scheme.is_empty() || rest.is_empty() || !scheme.chars().all(is_scheme) {
        return form;
    }
    if !rest.chars().all(is_host) {
        return form;
    }
    if origin.contains(|c: char| c.is_ascii_uppercase()) {
        return Err((
            "is in capitals",
            "write it in small letters, as browsers send it",
        ));
    }
    let is_usual = match scheme {
        "http" => rest.ends_with(":80"),
        "https" => rest.ends_with(":443"),
        _ => false,
    };
    match is_usual {
        true => Err(("names the usual port", "leave the port out, as browsers do")),
        false => Ok(()),
    }
}

fn tls(listener: &Table<'_>) -> Option<Tls> {
    let is_set = listener.is_set("tls");
    let table = listener.table("tls");
    let file = |key| {
        let path = table.text(key);
        if path.is_none() && is_set && table.entries.is_some() && !table.is_set(key) {
            let way_out = "write tls = { cert = \"chain.pem\", key = \"key.pem\" }";
            table.problem(key, "not there", way_out);
        }
        path.map(|path| table.document().resolve(path))
    };
    let (cert, key) = (file("cert"), file("key"));
    let loaded = cert.zip(key).and_then(|(cert, key)| {
        let config = config::load(&cert, &key).map_err(|(file, error)| {
            let (name, path) = match file {
                File::Cert => ("cert", &cert),
                File::Key => ("key", &key),
            };
            let what = format!("{} {error}", path.display());
            table.problem(name, what, error.way_out());
        });
        let (config, digest) = config.ok()?;
        Some(Tls {
            config,
            cert,
            key,
            digest,
        })
    });
    table.finish();
    loaded
}

fn trusted(table: &Table<'_>) -> Option<Vec<IpNet>> {
    let behind_proxy = table.flag("proxy_protocol", false);
    let texts = table.texts("trusted");
    if !behind_proxy {
        if texts.is_some() {
            let what = "without a PROXY header nobody has to be trusted";
            let way_out = "write proxy_protocol = true, or take the key out";
            table.problem("trusted", what, way_out);
        }
        return None;
    }
    if texts.as_ref().is_none_or(Vec::is_empty) && (!table.is_set("trusted") || texts.is_some()) {
        let key = if table.is_set("trusted") {
            "trusted"
        } else {
            "proxy_protocol"
        };
        let way_out = "name the load balancer: trusted = [\"10.0.0.0/8\"]";
        table.problem(key, "a PROXY header is taken from nobody", way_out);
    }
    let mut networks = Vec::new();
    for (index, text) in texts.unwrap_or_default().into_iter().enumerate() {
        // An address alone is a network of one.
        let network = text.parse::<IpNet>();
        let network =
            network.or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => {
                let what = format!("{text:?} is not a network");
                let way_out = "write it as \"10.0.0.0/8\" or \"fd00::/8\", or one address";
                table.problem(&format!("trusted[{index}]"), what, way_out);
            }
        }
    }
    Some(networks)
}
