//! Logging in by password, as a client should (RFC 4252).

use std::net::SocketAddr;

use crate::peer::{Gone, Peer};
use crate::target::{PASSWORD, USER};
use crate::wire::{Payload, login, number};

impl Peer {
    pub(crate) async fn logged_in(addr: SocketAddr) -> Self {
        let mut peer = Self::keyed(addr).await;
        peer.ask_for_authentication().await.unwrap();
        peer.log_in().await.unwrap();
        peer
    }

    pub(crate) async fn ask_for_authentication(&mut self) -> Result<(), Gone> {
        self.send(Payload::new(number::SERVICE_REQUEST).string("ssh-userauth")).await?;
        self.wait_for(number::SERVICE_ACCEPT).await.map(drop)
    }

    pub(crate) async fn log_in(&mut self) -> Result<(), Gone> {
        self.send(password(PASSWORD)).await?;
        self.wait_for(number::USERAUTH_SUCCESS).await.map(drop)
    }
}

/// A password request.
pub(crate) fn password(password: &str) -> Payload {
    login(USER, "password").bool(false).string(password)
}
