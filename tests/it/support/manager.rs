//! A stand-in for systemd: it binds the sockets, passes them to one process after the other, and
//! hears what they report.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::eventually;
use super::gateway::Gateway;
use super::process::Process;

/// The descriptors come as the three standard streams, since these alone can be given to a child
/// without touching what other children of this process get. The shell moves them to where systemd
/// puts them, and becomes the gateway: the id is that of the shell.
const SCRIPT: &str = r#"
exec 3<&0 4<&1 5<&2 </dev/null >"$1" 2>&1
shift
export LISTEN_PID="${PID_OF_OTHERS:-$$}" LISTEN_FDS=3 WATCHDOG_PID=$$
exec "$@"
"#;

/// What was reported, and when.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    /// `NAME=value`, one a line.
    pub(crate) text: String,
}

impl Told {
    /// The value of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The stand-in, with the sockets of one gateway.
pub(crate) struct Manager {
    pub(crate) native: TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) admin: TcpListener,
    /// What a credential of the service is a file in.
    pub(crate) credentials: TempDir,
    /// `FileDescriptorName=` of the three, with colons between.
    pub(crate) names: &'static str,
    /// More of the environment.
    pub(crate) env: Vec<(&'static str, String)>,
    address: String,
    told: Arc<Mutex<Vec<Told>>>,
    listening: JoinHandle<()>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Manager {
    /// With sockets on free ports of loopback. As systemd's, they block, and have no options.
    pub(crate) fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let stream = || TcpListener::bind(any).expect("a free port");
        let credentials = tempfile::tempdir().expect("a temporary directory");
        let path = credentials.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory is writable");
        Self::over(
            socket,
            path.display().to_string(),
            credentials,
            [stream(), stream()],
        )
    }

    /// The same with an abstract name for what is reported.
    pub(crate) fn abstracted() -> Self {
        let name = format!("pushgate-manager-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).expect("a name");
        let mut manager = Self::new();
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        manager.listening.abort();
        manager.listening = listen(socket, Arc::clone(&manager.told));
        manager.address = format!("@{name}");
        manager
    }

    fn over(
        socket: UnixDatagram,
        address: String,
        credentials: TempDir,
        [native, admin]: [TcpListener; 2],
    ) -> Self {
        let told = Arc::<Mutex<Vec<Told>>>::default();
        Self {
            native,
            udp: UdpSocket::bind("127.0.0.1:0").expect("a free port"),
            admin,
            credentials,
            names: "native:udp:admin",
            env: Vec::new(),
            address,
            listening: listen(socket, Arc::clone(&told)),
            told,
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.native.local_addr().expect("it is bound")
    }

    /// Starts a process with the sockets, and waits for its line `ready`.
    #[track_caller]
    pub(crate) fn start(&self, config: &str) -> Gateway {
        Gateway::launch(config, |path| self.spawn(path))
    }

    /// Starts a process with the sockets and this configuration file.
    pub(crate) fn spawn(&self, config: &Path) -> Process {
        let streams = [
            OwnedFd::from(self.native.try_clone().expect("descriptors are left")),
            OwnedFd::from(self.udp.try_clone().expect("descriptors are left")),
            OwnedFd::from(self.admin.try_clone().expect("descriptors are left")),
        ];
        self.spawn_with(streams, config)
    }

    /// The same with other descriptors.
    pub(crate) fn spawn_with(&self, streams: [OwnedFd; 3], config: &Path) -> Process {
        let pipe = config.with_extension("log");
        let [native, udp, admin] = streams.map(Stdio::from);
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(&pipe);
        command.args([env!("CARGO_BIN_EXE_pushgate"), "serve", "--config"]);
        command.arg(config).env_remove("RUST_LOG");
        command.env("LISTEN_FDNAMES", self.names);
        command.env("NOTIFY_SOCKET", &self.address);
        command.env("CREDENTIALS_DIRECTORY", self.credentials.path());
        command.envs(self.env.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdin(native).stdout(udp).stderr(admin);
        Process::start_with_log(&mut command, &pipe)
    }

    /// What was reported so far, by all processes.
    pub(crate) fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().expect("no holder panics")
    }

    /// The first report of which this is true, past the first `after` of them.
    pub(crate) async fn await_told(
        &self,
        what: &str,
        after: usize,
        is_it: impl Fn(&Told) -> bool,
    ) -> Told {
        let find = || {
            let told = self.told();
            let found = told.iter().skip(after).find(|told| is_it(told)).cloned();
            found.ok_or_else(|| format!("{told:#?}"))
        };
        eventually(what, async || find()).await
    }

    /// Whether the process is said to live within this time.
    pub(crate) async fn hears_life_within(&self, time: Duration) -> bool {
        let (before, began) = (self.lives(), Instant::now());
        while began.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if before < self.lives() {
                return true;
            }
        }
        false
    }

    /// How often the process was said to live.
    fn lives(&self) -> usize {
        let told = self.told();
        told.iter()
            .filter(|told| told.value("WATCHDOG") == Some("1"))
            .count()
    }
}

fn listen(socket: UnixDatagram, told: Arc<Mutex<Vec<Told>>>) -> JoinHandle<()> {
    socket.set_nonblocking(true).expect("a socket's options");
    let socket = tokio::net::UnixDatagram::from_std(socket).expect("inside a runtime");
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count) = socket.recv(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let at = Instant::now();
            told.lock()
                .expect("no holder panics")
                .push(Told { at, text });
        }
    })
}

/// A file that is no socket.
pub(crate) fn no_socket() -> OwnedFd {
    File::open(PathBuf::from("/dev/null"))
        .expect("it is there")
        .into()
}
