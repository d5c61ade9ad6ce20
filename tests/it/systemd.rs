//! Under a service manager: a stand-in for systemd passes the sockets, hears what is reported, and
//! restarts the process under load. The shipped units are checked by systemd's own tools.

mod notifications;
mod restart;
mod sockets;
mod units;
