//! The floor: a server that does nothing but the system calls without which nothing is delivered.
//!
//! It is a process of its own that takes commands through a pipe, so that its CPU time stands
//! beside the gateway's, measured in the same way. It has no timers, no log, no names and no
//! bounds.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

use super::child::Server;

/// Accept so many clients.
const ACCEPT: u8 = b'a';
/// Write a frame to each client, so many times.
const WRITE: u8 = b'w';
/// Answer datagrams, each after one write to the client it names, until an empty one comes.
const RELAY: u8 = b'u';
/// Accept, read a HELLO, write a WELCOME, and, when so many have come, read a BYE, close.
const CHURN: u8 = b'c';

/// A command done.
const DONE: u8 = b'.';
/// Bytes of a command: which, three numbers.
const COMMAND_BYTES: usize = 1 + 3 * 4;
/// A datagram's longest.
const DATAGRAM_BYTES: usize = 65_536;
/// Bytes of a reply of the gateway: header and counts.
const REPLY_BYTES: usize = 96;
/// Bytes of a WELCOME with its length.
const WELCOME_BYTES: usize = 37;

/// The load's end of it.
pub struct Floor {
    server: Server,
    commands: ChildStdin,
    done: ChildStdout,
    /// Where clients connect.
    pub native: SocketAddr,
    /// Where datagrams are answered.
    pub udp: SocketAddr,
}

impl Floor {
    /// Starts the command, which is to call [`serve`].
    ///
    /// # Errors
    /// When it does not start, or does not say where it listens.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut server = Server::start(command)?;
        let pipes = server.pipes();
        let commands = pipes.stdin.take().context("standard input is no pipe")?;
        let mut done = pipes.stdout.take().context("standard output is no pipe")?;
        let mut ports = [0; 4];
        done.read_exact(&mut ports)
            .context("the loop did not say where it listens")?;
        let [a, b, c, d] = ports;
        let address = |port: [u8; 2]| SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes(port)));
        Ok(Self {
            server,
            commands,
            done,
            native: address([a, b]),
            udp: address([c, d]),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Lets it accept `count` clients, which connect meanwhile; [`wait`](Self::wait) says when it
    /// has.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn accept(&mut self, count: usize) -> anyhow::Result<()> {
        self.command(ACCEPT, [count, 0, 0], &[])
    }

    /// Lets it write `frame` to every client, `count` times in all, `joined` of them in one write.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn write(&mut self, frame: &[u8], count: usize, joined: usize) -> anyhow::Result<()> {
        self.command(WRITE, [frame.len(), count, joined], frame)
    }

    /// Lets it answer datagrams until an empty one comes: `u32 client`, filler, the frame, which is
    /// the last `frame_bytes` of it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn relay(&mut self, frame_bytes: usize) -> anyhow::Result<()> {
        self.command(RELAY, [frame_bytes, 0, 0], &[])
    }

    /// Lets it greet `count` clients, `window` before it waits for the first of these to leave.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn churn(&mut self, count: usize, window: usize) -> anyhow::Result<()> {
        self.command(CHURN, [count, window, 0], &[])
    }

    /// Waits until it has done what it was told last.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let mut done = [0];
        self.done.read_exact(&mut done).context("the loop ended")
    }

    fn command(&mut self, what: u8, numbers: [usize; 3], rest: &[u8]) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(COMMAND_BYTES + rest.len());
        bytes.push(what);
        for number in numbers {
            let number = u32::try_from(number).context("a number of a command")?;
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(rest);
        self.commands.write_all(&bytes).context("the loop ended")
    }
}

/// The loop itself: takes commands from standard input until that ends.
///
/// # Errors
/// When a system call fails.
pub fn serve() -> io::Result<()> {
    // Should this not be possible, it still ends with its standard input.
    let _ = super::machine::end_with_parent();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut commands = BufReader::new(io::stdin().lock());
    let mut done = io::stdout().lock();
    done.write_all(&listener.local_addr()?.port().to_be_bytes())?;
    done.write_all(&socket.local_addr()?.port().to_be_bytes())?;
    done.flush()?;
    let mut clients = Vec::new();
    let mut command = [0; COMMAND_BYTES];
    loop {
        match commands.read_exact(&mut command) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let [what, numbers @ ..] = command;
        let (numbers, _) = numbers.as_chunks::<4>();
        let number = |index: usize| u32::from_be_bytes(numbers[index]) as usize;
        match what {
            ACCEPT => {
                for _ in 0..number(0) {
                    let (client, _) = listener.accept()?;
                    // As the gateway does, or a burst would wait for acknowledgements.
                    client.set_nodelay(true)?;
                    clients.push(client);
                }
            }
            WRITE => {
                let mut frame = vec![0; number(0)];
                commands.read_exact(&mut frame)?;
                write(&clients, &frame, number(1), number(2))?;
            }
            RELAY => relay(&socket, &clients, number(0))?,
            CHURN => churn(&listener, number(0), number(1))?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        done.write_all(&[DONE])?;
        done.flush()?;
    }
}

/// One write(2) a client and message, or a client and `joined` messages.
fn write(clients: &[TcpStream], frame: &[u8], count: usize, joined: usize) -> io::Result<()> {
    let joined_bytes = frame.repeat(joined);
    let mut left = count;
    while left > 0 {
        let now = left.min(joined);
        for mut client in clients {
            client.write_all(&joined_bytes[..now * frame.len()])?;
        }
        left -= now;
    }
    Ok(())
}

/// One recvfrom, one write, one sendto.
fn relay(socket: &UdpSocket, clients: &[TcpStream], frame_bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let (count, from) = socket.recv_from(&mut buffer)?;
        let Some((client, _)) = buffer[..count].split_first_chunk::<4>() else {
            return Ok(());
        };
        let mut client = &clients[u32::from_be_bytes(*client) as usize];
        client.write_all(&buffer[count - frame_bytes..count])?;
        socket.send_to(&buffer[..REPLY_BYTES], from)?;
    }
}

/// One accept, one read, one write; and one read, one close.
fn churn(listener: &TcpListener, count: usize, window: usize) -> io::Result<()> {
    let (mut buffer, mut clients) = ([0; 1024], Vec::new());
    for begin in (0..count).step_by(window) {
        for _ in begin..count.min(begin + window) {
            let (mut client, _) = listener.accept()?;
            let _hello = client.read(&mut buffer)?;
            client.write_all(&welcome())?;
            clients.push(client);
        }
        for mut client in clients.drain(..) {
            let _bye = client.read(&mut buffer)?;
        }
    }
    Ok(())
}

/// As long as a WELCOME, and of its type.
fn welcome() -> [u8; WELCOME_BYTES] {
    let mut frame = [0; WELCOME_BYTES];
    frame[3] = WELCOME_BYTES as u8 - 4;
    frame[4] = crate::wire::frame::WELCOME;
    frame
}
