//! The shipped units: what systemd's own tools say of them, and that the gateway lives under them.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushgate::daemon::settings::Settings;
use pushgate::wire::datagram::Target;
use rustix::process::{Signal, getuid};
use tempfile::TempDir;

use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::missing;
use crate::support::sender::Sender;

const UNITS: [(&str, &str); 4] = [
    (
        "pushgate.service",
        include_str!("../../../config/pushgate.service"),
    ),
    (
        "pushgate.socket",
        include_str!("../../../config/pushgate.socket"),
    ),
    (
        "pushgate-udp.socket",
        include_str!("../../../config/pushgate-udp.socket"),
    ),
    (
        "pushgate-admin.socket",
        include_str!("../../../config/pushgate-admin.socket"),
    ),
];
/// Where the unit expects the program.
const INSTALLED: &str = "/usr/local/bin/pushgate";
/// The worst that `systemd-analyze security` may say, of 10.
const EXPOSURE_MAX: f64 = 1.5;

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_pushgate")
}

/// The units in a directory, with the program where it is and each text changed by this.
fn installed(change: impl Fn(&str) -> String) -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |(name, text): (&str, &str)| {
        let path = directory.path().join(name);
        let text = change(&text.replace(INSTALLED, program()));
        std::fs::write(&path, text).expect("the directory is writable");
        path
    };
    let paths = UNITS.map(write).to_vec();
    (directory, paths)
}

/// What the tool says; `None` where it is not installed.
fn analyze(arguments: &[&str], units: &[PathBuf]) -> Option<(bool, String)> {
    let mut tool = Command::new("systemd-analyze");
    let output = match tool.args(arguments).args(units).output() {
        Ok(output) => output,
        Err(error) => {
            missing(format_args!("systemd-analyze: {error}"));
            return None;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some((output.status.success(), said))
}

/// The units as they are, and with every line in comments that is meant to be taken out of them.
#[test]
fn systemd_takes_the_units_without_a_word() {
    let uncommented = |text: &str| {
        let line = |line: &str| {
            let setting = line.strip_prefix('#');
            let is_one = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
            setting.filter(is_one).unwrap_or(line).to_owned() + "\n"
        };
        text.lines().map(line).collect::<String>()
    };
    assert!(uncommented(UNITS[0].1).contains("\nMemoryMax="));
    let as_they_are = |text: &str| text.to_owned();
    for (_directory, units) in [installed(as_they_are), installed(uncommented)] {
        let Some((success, said)) = analyze(&["verify"], &units) else {
            return;
        };
        assert!(success && said.trim().is_empty(), "{said}");
    }
    // The look itself finds what it looks for.
    let (_directory, units) = installed(|text| text.replace("WatchdogSec=30s", "WatchdogSec=soon"));
    let (_, said) = analyze(&["verify"], &units).expect("it was there before");
    assert!(said.contains("soon"), "{said}");
}

#[test]
fn the_service_is_hardened() {
    let exposure = |unit: &[PathBuf]| {
        let threshold = format!("--threshold={}", EXPOSURE_MAX * 10.0);
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let (success, said) = analyze(&arguments, unit)?;
        let line = said
            .lines()
            .find(|line| line.contains("Overall exposure level"));
        let line = line.unwrap_or_else(|| panic!("no verdict in {said}"));
        let level = line
            .split_whitespace()
            .find_map(|word| word.parse::<f64>().ok());
        Some((success, level.expect("a level"), said))
    };
    let (_directory, units) = installed(str::to_owned);
    let Some((success, level, said)) = exposure(&units[..1]) else {
        return;
    };
    eprintln!("exposure {level}");
    assert!(success && level <= EXPOSURE_MAX, "{said}");
    let (_directory, units) = installed(|text| text.replace("CapabilityBoundingSet=\n", ""));
    let (success, level, _) = exposure(&units[..1]).expect("it was there before");
    assert!(!success && EXPOSURE_MAX < level);
}

/// The values of a setting, in the order of their lines.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    text.lines().filter_map(value).collect()
}

#[test]
fn the_units_hold_what_the_defaults_say_and_what_a_restart_needs() {
    let [(_, service), sockets @ ..] = UNITS;
    let defaults = Settings::default();
    let native = &defaults.listeners[0];
    let doors = [
        ("ListenStream", native.address, native.name.as_str()),
        ("ListenDatagram", defaults.udp.listen, "udp"),
        ("ListenStream", defaults.admin.listen, "admin"),
    ];
    for ((file, text), (kind, address, name)) in sockets.into_iter().zip(doors) {
        assert_eq!(values(text, kind), [address.to_string()], "{file}");
        assert_eq!(values(text, "FileDescriptorName"), [name], "{file}");
        assert_eq!(values(text, "Service"), ["pushgate.service"], "{file}");
        // Each of these would close the socket, or empty it, when the service restarts.
        for setting in ["PartOf", "BindsTo", "FlushPending", "Accept"] {
            assert_eq!(
                values(text, setting),
                Vec::<&str>::new(),
                "{file}: {setting}"
            );
        }
        for setting in ["Sockets", "Requires", "Also"] {
            assert!(
                values(service, setting)[0].contains(file),
                "{setting} lacks {file}"
            );
        }
    }
    let buffer = values(sockets[1].1, "ReceiveBuffer");
    assert_eq!(buffer, [format!("{}M", defaults.udp.receive_buffer >> 20)]);
    for (setting, value) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        ("StartLimitIntervalSec", "0"),
        ("WatchdogSec", "30s"),
        ("DynamicUser", "yes"),
        ("LimitNOFILE", "1048576"),
        ("LimitCORE", "0"),
        ("LoadCredential", "pushgate:/etc/pushgate/credentials"),
    ] {
        assert_eq!(values(service, setting), [value], "{setting}");
    }
}

/// All that it does, from start to end, within what the service allows: a call that the filter does
/// not know ends the process.
#[tokio::test]
async fn the_gateway_lives_under_the_limits_of_the_service() {
    let confined = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/systemd/confined.py");
    let (directory, units) = installed(str::to_owned);
    let script = directory.path().join("confined.py");
    std::fs::copy(confined, &script).expect("the script is copied");
    let run = |program: &str| {
        let mut command = Command::new("python3");
        command.arg(&script).arg(&units[0]).arg(program);
        command
    };
    // Whether it can be done here, and whether it would be seen: mount(2) is not in the filter.
    let can = |program: &str| {
        run(program)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !can("/bin/true") {
        return missing("python3, systemd-analyze or libseccomp");
    }
    let mut mount = run("/bin/mount");
    let mount = mount.args(["-t", "tmpfs", "none", "/mnt"]).output();
    let mount = mount.expect("it was there before").status;
    assert_eq!(mount.signal(), Some(Signal::SYS.as_raw()));

    let mut gateway = program().to_owned();
    if getuid().is_root() {
        // The build may stand where nobody else can read it.
        let copy = directory.path().join("pushgate");
        std::fs::copy(program(), &copy).expect("the program is copied");
        for path in [directory.path(), &copy] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, mode).expect("it is ours");
        }
        gateway = copy.display().to_string();
    }
    let gateway = Gateway::start_with("[log]\nlevel = 'debug'\n", run(&gateway));
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let answer = sender.push(&[Target::All], b"hello").await;
    assert_eq!(answer.counts.written, 1);
    assert_eq!(client.next_push().await.2, b"hello");
    for path in ["/metrics", "/healthz", "/readyz", "/debug/pprof/tasks"] {
        assert_eq!(gateway.get(path).await.0, 200, "{path}");
    }
    let (status, profile) = gateway.get("/debug/pprof/profile?seconds=1").await;
    assert_eq!(status, 200, "{profile}");
    gateway.rewrite("[clients]\nmax_devices = 1\n[log]\nlevel = 'debug'\n");
    let (status, report) = gateway.reload().await;
    assert_eq!(
        (status, &report["result"]),
        (200, &"applied".into()),
        "{report}"
    );
    let filtered = format!("/proc/{}/status", gateway.pid().as_raw_nonzero());
    let filtered = std::fs::read_to_string(filtered).expect("it is there");
    assert!(filtered.contains("Seccomp:\t2") && filtered.contains("NoNewPrivs:\t1"));
    gateway.signal(Signal::TERM);
    client.closed().await;
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:#?}");
}
