//! What may be listened on and reached.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{ListenError, OpenError};
use ractor_ssh::session::stream_fn;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{DaemonConfig, GatewayPorts, Permissions};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};

use super::support::{SIZE, answer, local, open_house, target_socket};
use crate::kit::{after_eof, exchange};
use crate::ours::Quiet;
use crate::programs::{piece, router};
use crate::support::{Served, soon};

pub(super) fn with_permissions(
    change: impl Fn(&mut Permissions) + Send + Sync + 'static,
) -> impl FnOnce(DaemonConfig) -> DaemonConfig {
    move |config| {
        config.router(open_house()).password(move |_, _| {
            let mut permissions = Permissions::all();
            change(&mut permissions);
            async move { permissions }
        })
    }
}

pub(super) async fn policies() {
    let served = Served::start(
        router()
            .listen_tcpip_async(|asked| async move { asked.user == "alice" && asked.address == "localhost" })
            .listen_streamlocal(|asked| asked.path.ends_with(".sock")),
    )
    .await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    assert!(soon(conn.tcpip_forward("localhost", 0, answer)).await.is_ok());
    let refused = soon(conn.tcpip_forward("", 0, answer)).await;
    assert!(matches!(refused, Err(ListenError::Refused { .. })), "{refused:?}");
    let quiet = |_| Some(stream_fn(after_eof));
    assert!(soon(conn.streamlocal_forward(path("a.sock"), quiet)).await.is_ok());
    for wrong in [path("a.other"), "relative.sock".into(), path("../x/../a.sock")] {
        let refused = soon(conn.streamlocal_forward(wrong, quiet)).await;
        assert!(matches!(refused, Err(ListenError::Refused { .. })), "{refused:?}");
    }
    soon(conn.close()).await;

    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let allowed = format!("localhost:{spare}");
    let listed = with_permissions(move |permissions| permissions.permit_listen = Some(vec![allowed.clone()]));
    let forbidden = with_permissions(|permissions| permissions.port_forwarding = false);
    for (served, listed) in [(Served::with(listed).await, true), (Served::with(forbidden).await, false)] {
        let auth = ractor_ssh::auth::Auth::new().password(SecretString::from("secret"));
        let conn = ractor_ssh::Client::new(served.client_config().auth(auth)).connect().await.unwrap();
        assert_eq!(soon(conn.tcpip_forward("localhost", spare, answer)).await.is_ok(), listed);
        assert!(soon(conn.tcpip_forward("localhost", 0, answer)).await.is_err());
        assert!(soon(conn.tcpip_forward("127.0.0.1", spare, answer)).await.is_err());
        assert!(soon(conn.streamlocal_forward(path("b.sock"), quiet)).await.is_err());
        soon(conn.close()).await;
    }
}

pub(super) async fn bad_policies() {
    let served = Served::with(|mut_config| {
        let routes = router()
            .listen_tcpip_async(|asked| async move {
                if asked.port == 1 {
                    panic!("on purpose");
                }
                std::future::pending::<bool>().await
            })
            .listen_streamlocal(|_| panic!("on purpose"));
        let timeouts = {
            let mut timeouts = ractor_ssh::config::Timeouts::default();
            timeouts.request = Duration::from_millis(300);
            timeouts
        };
        mut_config.router(routes).timeouts(timeouts)
    })
    .await;
    let conn = served.connect().await;
    for port in [1, 2] {
        let refused = soon(conn.tcpip_forward("localhost", port, answer)).await;
        assert!(matches!(refused, Err(ListenError::Refused { .. })), "{port}: {refused:?}");
    }
    let refused = soon(conn.streamlocal_forward("/tmp/x", |_| Some(stream_fn(after_eof)))).await;
    assert!(matches!(refused, Err(ListenError::Refused { .. })), "{refused:?}");
    assert_eq!(served.daemon.info().counters.requests_refused, 3);
    soon(conn.close()).await;
}

/// The addresses on which somebody listens on this port, by the kernel's table of IPv4.
pub(super) fn listens_on(port: u16) -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let address = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (at, state) = (words.next()?, words.nth(1)?);
        let (ip, at) = at.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?;
        let here = state == "0A" && u16::from_str_radix(at, 16) == Ok(port);
        here.then_some(IpAddr::V4(Ipv4Addr::from(ip.swap_bytes())))
    };
    table.lines().filter_map(address).collect()
}

pub(super) async fn gateway() {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (gateway, asked, bound) in [
        (GatewayPorts::No, "", loopback),
        (GatewayPorts::No, "0.0.0.0", loopback),
        (GatewayPorts::Yes, "localhost", everywhere),
        (GatewayPorts::ClientSpecified, "", everywhere),
        (GatewayPorts::ClientSpecified, "localhost", loopback),
        (GatewayPorts::ClientSpecified, "127.0.0.1", loopback),
    ] {
        let served = Served::start(open_house().gateway_ports(gateway)).await;
        let conn = served.connect().await;
        let listener = soon(conn.tcpip_forward(asked, 0, answer)).await.unwrap();
        assert_eq!(listens_on(listener.port()), [bound], "{gateway:?} {asked}");
        soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"x")).await;
        soon(conn.close()).await;
    }
}

pub(super) async fn direct_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("target.sock");
    target_socket(path.clone());
    let allowed = directory.path().to_str().unwrap().to_owned();
    let served =
        Served::start(router().forward_streamlocal(move |open| open.path.starts_with(&allowed))).await;
    let conn = served.connect().await;
    let to = |path: PathBuf| OpenRequest::DirectStreamlocal { path: path.to_str().unwrap().to_owned() };
    let stream = soon(conn.open_stream(to(path.clone()), ChannelOptions::new())).await.unwrap();
    soon(exchange(stream, &piece(0, SIZE))).await;
    let crooked = directory.path().join("..").join(directory.path().file_name().unwrap()).join("target.sock");
    for (wrong, why) in [
        (directory.path().join("nobody.sock"), OpenFailureReason::ConnectFailed),
        (PathBuf::from("/run/other.sock"), OpenFailureReason::AdministrativelyProhibited),
        (crooked, OpenFailureReason::AdministrativelyProhibited),
        (PathBuf::from("target.sock"), OpenFailureReason::AdministrativelyProhibited),
    ] {
        let refused = soon(conn.open_channel(to(wrong.clone()), ChannelOptions::new(), Quiet)).await;
        let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{wrong:?}: {refused:?}") };
        assert_eq!(reason, why, "{wrong:?}");
    }
    soon(conn.close()).await;
}
