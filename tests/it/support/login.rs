//! Who a client is when it comes in, and how it does.

use std::net::{IpAddr, SocketAddr};

use pushgate::wire::frame::{HelloFields, encode_hello};

use super::client::{Client, Closed};

/// Who a client is when it comes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) groups: Vec<String>,
    /// 0 leaves the choice to the gateway.
    pub(crate) heartbeat_s: u16,
    /// The epoch and the cursor to go on from.
    pub(crate) place: Option<(u64, u64)>,
    /// The address of the host to connect from; the system's choice where there is none.
    pub(crate) from: Option<IpAddr>,
}

impl Login {
    pub(crate) fn user(user: impl Into<String>) -> Self {
        let user = user.into();
        Self {
            user,
            ..Self::default()
        }
    }

    pub(crate) fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    pub(crate) fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    pub(crate) fn heartbeat_s(mut self, seconds: u16) -> Self {
        self.heartbeat_s = seconds;
        self
    }

    /// Goes on from this epoch and cursor.
    pub(crate) fn resume(mut self, place: (u64, u64)) -> Self {
        self.place = Some(place);
        self
    }

    /// Connects from 127.0.0.`last`.
    pub(crate) fn from(mut self, last: u8) -> Self {
        self.from = Some([127, 0, 0, last].into());
        self
    }

    /// The HELLO.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let mut bytes = Vec::new();
        let (epoch, cursor) = self.place.unwrap_or_default();
        let hello = HelloFields {
            version: 1,
            resume: self.place.is_some(),
            heartbeat_s: self.heartbeat_s,
            epoch,
            cursor,
            device: &self.device,
            groups: &groups,
            token: self.user.as_bytes(),
        };
        encode_hello(&mut bytes, &hello);
        bytes
    }

    /// Connects and waits for all that follows a HELLO, up to CURRENT.
    pub(crate) async fn enter(&self, gateway: SocketAddr) -> Client {
        self.try_enter(gateway).await.unwrap_or_else(|closed| {
            panic!("{self:?} was not let in: {closed:?}");
        })
    }

    /// The same for one who may be turned away.
    pub(crate) async fn try_enter(&self, gateway: SocketAddr) -> Result<Client, Closed> {
        let client = match self.from {
            Some(address) => Client::connect_from(address, gateway).await,
            None => Client::connect(gateway).await,
        };
        self.try_enter_over(client).await
    }

    /// Waits for all that follows a HELLO on a connection that stands.
    pub(crate) async fn enter_over(&self, client: Client) -> Client {
        self.try_enter_over(client).await.unwrap_or_else(|closed| {
            panic!("{self:?} was not let in: {closed:?}");
        })
    }

    async fn try_enter_over(&self, mut client: Client) -> Result<Client, Closed> {
        client.send_bytes(&self.encode()).await;
        match client.greeted().await {
            Ok(_) => Ok(client),
            Err(closed) => Err(closed),
        }
    }
}
