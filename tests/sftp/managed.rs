//! On a connection that comes again.

use libtest_mimic::Trial;
use ractor_ssh::sftp::{SftpClient, SftpErrorKind, Transfer};
use ractor_ssh::{Client, ManagedSpec};

use crate::kit::{Peer, Sshd, peer_test};
use crate::support::{becomes_true, bytes, soon, sshd_config};

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshServer, Peer::OpenSshSftp];
    let name = "openssh::a_session_ends_with_its_connection_and_the_next_goes_on_where_it_was";
    vec![peer_test(name, needs, again)]
}

async fn again() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let content = bytes(3 << 20);
    std::fs::write(&from, &content).unwrap();
    let remote = to.to_str().unwrap();
    let sshd = Sshd::builder().start().unwrap();
    let managed = Client::new(sshd_config(&sshd)).manage(ManagedSpec::new()).await.unwrap();

    let sftp = SftpClient::open_session(&managed).await.unwrap();
    sftp.write(remote, &content[..1 << 20]).await.unwrap();
    sshd.kill_sessions();
    becomes_true("the session is over", || sftp.ended().is_some()).await;
    let error = soon("stat", sftp.stat(remote)).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Ended { .. }), "{error}");

    let sftp = soon("the next", SftpClient::open_session(&managed)).await.unwrap();
    let report = soon("upload", sftp.upload(&from, remote, Transfer::new().resume(true))).await.unwrap();
    assert_eq!((report.resumed, report.bytes), (1 << 20, 2 << 20));
    assert!(std::fs::read(&to).unwrap() == content);
    sftp.close().await;
    managed.shutdown(std::time::Duration::from_secs(5)).await;
}
