//! By OpenSSH's client.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};

use super::support::{SIZE, local, open_house, target, target_socket};
use crate::kit::exchange;
use crate::programs::{piece, router};
use crate::support::{Ssh, eventually, soon};

/// `ssh -N` with these arguments, and what it says.
pub(super) fn forwarding(mut command: Command, args: &[&str]) -> (Child, impl AsyncRead + Unpin + use<>) {
    let mut child = command
        .args(["-N", "-o", "ExitOnForwardFailure=yes"])
        .args(args)
        .arg("127.0.0.1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = child.stderr.take().unwrap();
    (child, said)
}

pub(super) async fn connect_soon(port: u16) -> TcpStream {
    soon(async {
        loop {
            match TcpStream::connect(local(port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

pub(super) async fn connect_socket_soon(path: &std::path::Path) -> UnixStream {
    soon(async {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

/// The port that `ssh` says it was given.
pub(super) async fn allocated(said: impl AsyncRead + Unpin) -> u16 {
    let mut lines = BufReader::new(said).lines();
    soon(async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(rest) = line.strip_prefix("Allocated port ") {
                return rest.split(' ').next().unwrap().parse().unwrap();
            }
        }
        panic!("ssh has ended without a port");
    })
    .await
}

pub(super) async fn ssh_remote() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let (mut child, said) = forwarding(ssh.command(&served), &["-R", &format!("0:{to}")]);
    let port = allocated(said).await;
    soon(exchange(TcpStream::connect(local(port)).await.unwrap(), &piece(0, SIZE))).await;
    let many = (0..20).map(|at| async move {
        exchange(TcpStream::connect(local(port)).await.unwrap(), format!("number {at}").as_bytes()).await;
    });
    soon(futures::future::join_all(many)).await;
    child.kill().await.unwrap();
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
}

pub(super) async fn ssh_remote_unix() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let path = ssh.directory().join("remote.sock");
    let (mut child, _said) = forwarding(ssh.command(&served), &["-R", &format!("{}:{to}", path.display())]);
    let stream = connect_socket_soon(&path).await;
    soon(exchange(stream, &piece(0, SIZE))).await;
    child.kill().await.unwrap();
    eventually(|| !path.exists()).await;
}

pub(super) async fn ssh_cancel() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let control = ssh.directory().join("control");
    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let forward = format!("{spare}:{to}");
    let master = ["-M", "-S", control.to_str().unwrap(), "-R", &forward];
    let (mut child, _said) = forwarding(ssh.command(&served), &master);
    soon(exchange(connect_soon(spare).await, b"before")).await;
    let mut command = ssh.command(&served);
    command.args(["-S", control.to_str().unwrap(), "-O", "cancel", "-R", &forward, "127.0.0.1"]);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually(|| std::net::TcpStream::connect(local(spare)).is_err()).await;
    child.kill().await.unwrap();
}

pub(super) async fn ssh_local() {
    let to = target().await;
    let ssh = Ssh::new();
    let path = ssh.directory().join("target.sock");
    target_socket(path.clone());
    let allowed = path.to_str().unwrap().to_owned();
    let routes = router()
        .forward_tcpip(move |open| open.port == to.port())
        .forward_streamlocal(move |open| open.path == allowed);
    let served = ssh.serve(|config| config.router(routes)).await;
    let near = ssh.directory().join("near.sock");
    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let port = format!("{spare}:{to}");
    let socket = format!("{}:{}", near.display(), path.display());
    let (mut child, _said) = forwarding(ssh.command(&served), &["-L", &port, "-L", &socket]);
    soon(exchange(connect_soon(spare).await, &piece(0, SIZE))).await;
    soon(exchange(connect_socket_soon(&near).await, &piece(0, SIZE))).await;
    child.kill().await.unwrap();
}

pub(super) async fn ssh_refused() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    for forward in ["0:127.0.0.1:1", "/tmp/never.sock:127.0.0.1:1"] {
        let (mut child, mut said) = forwarding(ssh.command(&served), &["-R", forward]);
        let mut text = String::new();
        soon(said.read_to_string(&mut text)).await.unwrap();
        assert!(text.contains("remote port forwarding failed"), "{text}");
        assert!(!soon(child.wait()).await.unwrap().success());
    }
}
