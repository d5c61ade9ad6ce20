//! What TLS costs beside plain TCP, in one run and in turns: the server's CPU time a delivery of a
//! broadcast, and resident bytes of an idle client.
//!
//! Two gateways on core 0, one for each; the clients of both are here, on core 1, and read one
//! after the other. `BENCH_CLIENTS` (500) and `BENCH_ROUNDS` (6) say how much.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pushgate::cli::bench::child::Server;
use pushgate::cli::bench::load;
use pushgate::cli::bench::machine;
use pushgate::cli::bench::rounds::{Series, rotation};
use pushgate::clock::Clock;
use pushgate::wire::datagram::{Header, ReplyMode, RequestBody, Target, encode_request};
use pushgate::wire::frame::Scope;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const SIZES: [usize; 2] = [128, 4096];
/// Deliveries of a round.
const DELIVERIES: usize = 100_000;
/// How often a gateway that comes up is looked for.
const LOOK: Duration = Duration::from_millis(200);
const WAIT: Duration = Duration::from_secs(20);

/// A gateway with its clients.
struct Side {
    server: Server,
    native: SocketAddr,
    sender: UdpSocket,
    clients: Vec<Box<dyn Stream>>,
    tls: Option<Arc<ClientConfig>>,
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Side {
    fn start(directory: &Path, tls: Option<Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let file = directory.join("pushgate.toml");
        let door = match tls {
            Some(_) => "tls = { cert = \"chain.pem\", key = \"key.pem\" }",
            None => "",
        };
        let [native, udp, admin] = free_addresses()?;
        std::fs::write(
            &file,
            format!(
                "[[listeners]]\naddress = \"{native}\"\n{door}\n[clients]\naccept_rate = 0\n\
                 [udp]\nlisten = \"{udp}\"\nfuture = \"50ms\"\n[admin]\nlisten = \"{admin}\"\n"
            ),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        let command = command.args(["serve", "--config"]).arg(&file);
        let server = Server::start(command.stderr(Stdio::null()))?;
        let mut tries = 0;
        while TcpStream::connect(admin).is_err() {
            tries += 1;
            anyhow::ensure!(tries < 100, "the gateway does not come up");
            std::thread::sleep(LOOK);
        }
        // Until requests are not stale any more.
        std::thread::sleep(LOOK);
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.connect(udp)?;
        sender.set_read_timeout(Some(WAIT))?;
        Ok(Self {
            server,
            native,
            sender,
            clients: Vec::new(),
            tls,
        })
    }

    fn enter(&mut self) -> anyhow::Result<()> {
        let socket = TcpStream::connect(self.native)?;
        socket.set_read_timeout(Some(WAIT))?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                let connection = ClientConnection::new(Arc::clone(config), name)?;
                Box::new(StreamOwned::new(connection, socket))
            }
        };
        let mut hello = Vec::new();
        load::hello(self.clients.len(), &[], &mut hello);
        stream.write_all(&hello)?;
        // WELCOME, and CURRENT.
        for _ in 0..2 {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_be_bytes(length))?;
            stream.read_exact(&mut vec![0; length])?;
        }
        self.clients.push(stream);
        Ok(())
    }

    /// Server CPU of a delivery, in microseconds.
    fn broadcasts(&mut self, count: usize, size: usize) -> anyhow::Result<f64> {
        let mut frame = load::frame(size, Scope::All);
        let before = machine::cpu_time(self.server.id())?;
        for _ in 0..count {
            let header = Header {
                op: 0,
                key_id: 0,
                time_ms: Clock::system().now_ms(),
                request_id: rand::random(),
            };
            let payload = vec![b'.'; size];
            let body = RequestBody::Push {
                reply: ReplyMode::One,
                collapse: b"",
                ttl_s: 0,
                spread_ms: 0,
                targets: &[Target::All],
                payload: &payload,
            };
            let mut datagram = Vec::new();
            encode_request(&mut datagram, &header, &body, None);
            self.sender.send(&datagram)?;
            self.sender.recv(&mut [0; 256]).context("no answer")?;
            for client in &mut self.clients {
                client.read_exact(&mut frame)?;
            }
        }
        let spent = machine::cpu_time(self.server.id())?.saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / (count * self.clients.len()) as f64)
    }
}

/// Addresses that were free a moment ago.
fn free_addresses() -> std::io::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let taken = [bind()?, bind()?, bind()?];
    let [native, udp, admin] = taken.each_ref().map(TcpListener::local_addr);
    Ok([native?, udp?, admin?])
}

fn main() -> anyhow::Result<()> {
    let clients = number("BENCH_CLIENTS", 500);
    let rounds = number("BENCH_ROUNDS", 6);
    machine::raise_descriptor_limit(2 * clients as u64 + 64)?;
    let directory = tempfile::tempdir()?;
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let path = |file| directory.path().join(file);
    std::fs::write(path("chain.pem"), identity.cert.pem())?;
    std::fs::write(path("key.pem"), identity.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut sides = [
        Side::start(directory.path(), None)?,
        Side::start(directory.path(), Some(Arc::new(config)))?,
    ];
    if machine::has_two_cores() {
        machine::pin(machine::LOAD_CORE)?;
    }
    let mut out = std::io::stdout().lock();
    for (side, name) in sides.iter_mut().zip(["plain", "TLS"]) {
        // Workers have their own memory by then.
        for _ in 0..8 {
            side.enter()?;
        }
        side.broadcasts(20, SIZES[0])?;
        let before = machine::resident_bytes(side.server.id())?;
        let cpu = machine::cpu_time(side.server.id())?;
        for _ in 0..clients {
            side.enter()?;
        }
        let cpu = machine::cpu_time(side.server.id())?.saturating_sub(cpu);
        side.broadcasts(1, SIZES[0])?;
        let after = machine::resident_bytes(side.server.id())?;
        let each = after.saturating_sub(before) / clients as u64;
        let entering = cpu.as_secs_f64() * 1e6 / clients as f64;
        writeln!(
            out,
            "{name:<8}{each:>6} bytes a client, {entering:.0} us of CPU to enter"
        )?;
    }
    for size in SIZES {
        let mut series: [Series; 2] = Default::default();
        let count = (DELIVERIES / clients).max(1);
        for round in 0..rounds {
            for kind in rotation(round, 2) {
                series[kind].push(sides[kind].broadcasts(count, size)?);
            }
        }
        let [plain, tls] = &series;
        for (series, name) in [(plain, "plain"), (tls, "TLS")] {
            let (median, minimum) = (series.median(), series.minimum());
            let spread = 100.0 * series.spread();
            writeln!(
                out,
                "{name:<8}{size:>6} B: {median:.3} us a delivery (minimum {minimum:.3}, spread \
                 {spread:.0} %)"
            )?;
        }
        let (median, minimum) = (
            tls.median() / plain.median(),
            tls.minimum() / plain.minimum(),
        );
        writeln!(
            out,
            "TLS / plain at {size} B: {median:.3}x, by minima {minimum:.3}x"
        )?;
    }
    Ok(())
}

fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}
