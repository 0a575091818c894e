//! What the example serves besides processes: files, forwarded ports, and what a key's line says.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Files, Server, text};
use crate::kit::require_program;
use crate::support::soon;

pub(super) async fn files_are_served() {
    let files = Files::new();
    let root = files.path("root");
    std::fs::create_dir(&root).unwrap();
    files.write("root/here.txt", "from the server\n");
    files.write("outside.txt", "nobody's business\n");
    let local = files.write("local.txt", "from the client\n");
    let mut command = files.server_with_key();
    command.arg("--sftp-root").arg(&root);
    let server = Server::start(command).await;
    let fetched = files.path("fetched.txt");
    let batch = files
        .write("batch", &format!("get here.txt {}\nput {} there.txt\n", fetched.display(), local.display()));
    let sftp = |batch: &str| {
        let mut command = Command::new(require_program("sftp").unwrap());
        command.args(["-b", batch]).args(files.options(&server)).arg("127.0.0.1").kill_on_drop(true);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    };
    let output = soon(sftp(&batch.display().to_string()).output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&fetched).unwrap(), "from the server\n");
    assert_eq!(std::fs::read_to_string(root.join("there.txt")).unwrap(), "from the client\n");
    let escape = files.write("escape", &format!("get ../outside.txt {}\n", fetched.display()));
    let output = soon(sftp(&escape.display().to_string()).output()).await.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&fetched).unwrap(), "from the server\n");
}

/// `ssh -W`: what is written goes to a port, and its answer comes back.
async fn through(files: &Files, server: &Server, port: u16) -> (String, Option<i32>) {
    let mut ssh = files.ssh(server);
    ssh.args(["-o", "BatchMode=yes", "-W", &format!("127.0.0.1:{port}"), "127.0.0.1"]);
    let mut child = ssh.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have been refused by then.
    let _ = stdin.write_all(b"hello").await;
    drop(stdin);
    let output = soon(child.wait_with_output()).await.unwrap();
    (text(&output.stdout), output.status.code())
}

pub(super) async fn ports_are_forwarded_if_allowed() {
    let files = Files::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    });
    let strict = Server::start(files.server_with_key()).await;
    let (output, code) = through(&files, &strict, port).await;
    assert_eq!((&*output, code), ("", Some(255)));
    let mut command = files.server_with_key();
    command.arg("--allow-forwarding");
    let server = Server::start(command).await;
    assert_eq!(through(&files, &server, port).await.0, "olleh");
    soon(echo).await.unwrap();
}

pub(super) async fn a_keys_line_is_obeyed() {
    let files = Files::new();
    let key = std::fs::read_to_string(files.key.public_path()).unwrap();
    let keys = files.write("keys", &format!("restrict,command=\"echo only this\" {key}"));
    let mut command = files.server();
    command.arg("--allow-forwarding").arg("--authorized-keys").arg(keys);
    let server = Server::start(command).await;
    let output = files.run(&server, &["echo something else"]).await;
    assert_eq!(text(&output.stdout), "only this\n");
    let mut terminal = files.ssh(&server);
    let output = soon(terminal.args(["-o", "BatchMode=yes", "-tt", "127.0.0.1"]).output()).await.unwrap();
    assert!(text(&output.stderr).contains("PTY allocation request failed"), "{output:?}");
    let (output, code) = through(&files, &server, server.port).await;
    assert_eq!((&*output, code), ("", Some(255)));
}
