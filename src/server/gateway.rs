//! Which sockets an address to listen on stands for, and their making.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Type};
use tokio::net::TcpListener;

/// How many connections may wait to be accepted, on each socket.
const BACKLOG: i32 = 128;
/// How often a port of our choice is chosen anew when it is taken in the other address family.
const ATTEMPTS: u32 = 16;

/// Whether ports that peers have listened on can be reached from other hosts: `GatewayPorts` of OpenSSH's `sshd_config(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GatewayPorts {
    /// No: whatever address a peer asks for, loopback is bound, `127.0.0.1` and `::1`.
    #[default]
    No,
    /// Always: whatever address a peer asks for, all are bound.
    Yes,
    /// As the peer asks: `""` and `*` for all addresses, `localhost` for loopback, otherwise the address itself or what
    /// the name stands for.
    ClientSpecified,
}

impl GatewayPorts {
    /// The IP addresses to bind.
    async fn addresses(self, asked: &str) -> io::Result<Vec<IpAddr>> {
        let everywhere = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let loopback = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        match (self, asked) {
            (Self::No, _) | (Self::ClientSpecified, "localhost") => Ok(loopback),
            (Self::Yes, _) | (Self::ClientSpecified, "" | "*") => Ok(everywhere),
            (Self::ClientSpecified, name) => {
                let found = tokio::net::lookup_host((name, 0)).await?;
                let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                addresses.dedup();
                Ok(addresses)
            }
        }
    }

    /// Listens there, on one port in all address families that this machine has.
    pub(super) async fn bind(self, asked: &str, port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
        let addresses = self.addresses(asked).await?;
        let mut attempt = 1;
        loop {
            match bind_all(&addresses, port) {
                Err(error) if port == 0 && attempt < ATTEMPTS && error.kind() == io::ErrorKind::AddrInUse => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}

/// All addresses on one port; with port 0, the one that the first gets. An address that this machine does not have is passed
/// over as long as another one can be bound; one that is taken is an error, since somebody else would get its connections.
fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let mut listeners = Vec::new();
    let mut chosen = port;
    let mut missing = None;
    for address in addresses {
        match bind(SocketAddr::new(*address, chosen)) {
            Ok(listener) => {
                chosen = listener.local_addr()?.port();
                listeners.push(listener);
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => missing = Some(error),
        }
    }
    if listeners.is_empty() {
        return Err(missing.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
    }
    Ok((listeners, chosen))
}

fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier listener may live on; on Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listeners: &[TcpListener]) -> Vec<IpAddr> {
        listeners.iter().map(|listener| listener.local_addr().unwrap().ip()).collect()
    }

    #[tokio::test]
    async fn without_gateway_ports_nothing_but_loopback_is_bound_whatever_is_asked() {
        for asked in ["", "*", "0.0.0.0", "::", "localhost", "192.0.2.1", "no such name"] {
            let (listeners, port) = GatewayPorts::No.bind(asked, 0).await.unwrap();
            assert!(port != 0 && bound(&listeners).iter().all(IpAddr::is_loopback), "{asked}: {listeners:?}");
        }
    }

    #[tokio::test]
    async fn the_peers_address_counts_when_it_may() {
        for (asked, all, loopback) in
            [("", true, false), ("*", true, false), ("localhost", false, true), ("127.0.0.1", false, true)]
        {
            let (listeners, _) = GatewayPorts::ClientSpecified.bind(asked, 0).await.unwrap();
            let addresses = bound(&listeners);
            assert_eq!(addresses.iter().all(IpAddr::is_unspecified), all, "{asked}: {addresses:?}");
            assert_eq!(addresses.iter().all(IpAddr::is_loopback), loopback, "{asked}: {addresses:?}");
        }
        let (listeners, _) = GatewayPorts::Yes.bind("127.0.0.1", 0).await.unwrap();
        assert!(bound(&listeners).iter().all(IpAddr::is_unspecified));
        assert!(
            GatewayPorts::ClientSpecified.bind("192.0.2.1", 0).await.is_err(),
            "not an address of this machine"
        );
    }

    #[tokio::test]
    async fn a_port_that_is_taken_in_any_family_is_not_bound_in_the_other() {
        let (_first, port) = GatewayPorts::No.bind("", 0).await.unwrap();
        let taken = GatewayPorts::No.bind("", port).await;
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
