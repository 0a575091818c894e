//! Operations on names.

use libtest_mimic::Trial;
use ractor_ssh::sftp::{Attributes, FileKind, SftpClient, SftpErrorKind, SftpStatus};

use crate::kit::{Peer, peer_test};
use crate::support::{Place, both, mode, modified};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        peer_test("a_server_without_sftp_is_an_error_that_says_so", [] as [Peer; 0], no_subsystem),
        peer_test(
            "openssh::names_that_are_no_text_stay_what_they_are",
            [Peer::OpenSshServer, Peer::OpenSshSftp],
            no_text,
        ),
    ];
    trials.extend(both("files_are_made_listed_renamed_and_removed", life));
    trials.extend(both("links_are_made_and_read", links));
    trials.extend(both("attributes_are_told_and_changed", attributes));
    trials.extend(both("attributes_of_a_link_are_changed_where_that_is_offered", link_attributes));
    trials.extend(both("what_is_refused_names_operation_path_and_status", refused));
    trials.extend(both("a_directory_of_3000_names_is_listed_whole", many));
    trials.extend(both("there_is_space_left", space));
    trials
}

async fn life(place: Place) {
    let sftp = &place.sftp;
    sftp.mkdir(place.remote("d")).await.unwrap();
    sftp.write(place.remote("d/one"), "1").await.unwrap();
    sftp.write(place.remote("d/two"), "22").await.unwrap();
    let mut names: Vec<_> = sftp.list(place.remote("d")).await.unwrap();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    let told: Vec<_> = names.iter().map(|e| (e.name_text().into_owned(), e.attributes.size)).collect();
    assert_eq!(told, [("one".to_owned(), Some(1)), ("two".to_owned(), Some(2))]);
    assert!(names.iter().all(|entry| entry.kind() == FileKind::File));

    // The name is taken: a plain rename leaves it alone, the other one replaces it.
    assert!(sftp.rename_to_new(place.remote("d/one"), place.remote("d/two")).await.is_err());
    assert_eq!(sftp.read(place.remote("d/two"), 10).await.unwrap(), b"22");
    sftp.rename(place.remote("d/one"), place.remote("d/two")).await.unwrap();
    assert_eq!(sftp.read(place.remote("d/two"), 10).await.unwrap(), b"1");
    assert!(!place.root("d/one").exists());

    assert!(sftp.rmdir(place.remote("d")).await.is_err(), "it is not empty");
    sftp.remove(place.remote("d/two")).await.unwrap();
    sftp.rmdir(place.remote("d")).await.unwrap();
    assert!(!place.root("d").exists());
    place.end().await;
}

async fn links(place: Place) {
    let sftp = &place.sftp;
    sftp.write(place.remote("file"), "text").await.unwrap();
    sftp.symlink("file", place.remote("soft")).await.unwrap();
    assert_eq!(std::fs::read_link(place.root("soft")).unwrap().to_str(), Some("file"));
    assert_eq!(sftp.read_link(place.remote("soft")).await.unwrap(), "file");
    assert_eq!(sftp.lstat(place.remote("soft")).await.unwrap().kind(), FileKind::Symlink);
    assert_eq!(sftp.stat(place.remote("soft")).await.unwrap().size, Some(4));
    assert!(sftp.offers("hardlink@openssh.com"));
    sftp.hardlink(place.remote("file"), place.remote("hard")).await.unwrap();
    assert_eq!(std::fs::read(place.root("hard")).unwrap(), b"text");
    let found = sftp.real_path(place.remote("soft")).await.unwrap();
    let wanted = std::fs::canonicalize(place.root("file")).unwrap();
    let wanted = if place.is_openssh() { wanted.to_str().unwrap().to_owned() } else { "/file".to_owned() };
    assert_eq!(String::from_utf8_lossy(&found), wanted);
    place.end().await;
}

async fn attributes(place: Place) {
    let sftp = &place.sftp;
    sftp.write(place.remote("file"), "0123456789").await.unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let change = Attributes::new().permissions(0o640).times(time, time);
    sftp.set_attributes(place.remote("file"), change).await.unwrap();
    assert_eq!((mode(&place.root("file")), modified(&place.root("file"))), (0o640, 1_000_000_000));
    let told = sftp.stat(place.remote("file")).await.unwrap();
    assert_eq!((told.size, told.modified()), (Some(10), Some(time)));
    assert_eq!(told.permissions.map(|mode| mode & 0o777), Some(0o640));
    sftp.set_attributes(place.remote("file"), Attributes::new().size(4)).await.unwrap();
    assert_eq!(std::fs::read(place.root("file")).unwrap(), b"0123");
    sftp.mkdir_with(place.remote("private"), Attributes::new().permissions(0o700)).await.unwrap();
    assert_eq!(mode(&place.root("private")), 0o700);
    assert!(sftp.stat(place.remote("private")).await.unwrap().is_dir());
    place.end().await;
}

async fn link_attributes(place: Place) {
    let sftp = &place.sftp;
    sftp.write(place.remote("file"), "text").await.unwrap();
    sftp.symlink("file", place.remote("soft")).await.unwrap();
    let before = modified(&place.root("file"));
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let changed = sftp.set_link_attributes(place.remote("soft"), Attributes::new().times(time, time)).await;
    assert_eq!(modified(&place.root("file")), before, "the link's, not the file's");
    if sftp.offers("lsetstat@openssh.com") {
        changed.unwrap();
        assert_eq!(sftp.lstat(place.remote("soft")).await.unwrap().modified(), Some(time));
    } else {
        let error = changed.unwrap_err();
        assert!(matches!(error.kind, SftpErrorKind::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("lsetstat@openssh.com"), "{error}");
    }
    place.end().await;
}

async fn refused(place: Place) {
    let path = place.remote("nothing\u{1b}here");
    let error = place.sftp.open(&path).await.unwrap_err();
    assert_eq!(error.status(), Some(SftpStatus::NoSuchFile));
    let wanted = format!("open {}: no such file", place.remote("nothing\\u{1b}here"));
    assert!(error.to_string().starts_with(&wanted), "{error}");
    let error = place.sftp.stat(&path).await.unwrap_err();
    assert_eq!((error.operation, error.status()), ("stat", Some(SftpStatus::NoSuchFile)));
    let error = place.sftp.stat("x".repeat(300_000)).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Config(_)), "{error}");
    // The session is as before.
    place.sftp.write(place.remote("file"), "").await.unwrap();
    place.end().await;
}

async fn many(place: Place) {
    for number in 0..3000 {
        std::fs::write(place.root(&format!("a file with a long name, number {number}")), "").unwrap();
    }
    let mut names: Vec<_> = place.sftp.list(place.remote("")).await.unwrap();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|a, b| a.name == b.name);
    assert_eq!(names.len(), 3000);
    place.end().await;
}

async fn space(place: Place) {
    let space = place.sftp.statvfs(place.remote("")).await.unwrap();
    assert!(space.blocks > 0 && space.blocks >= space.blocks_free && space.longest_name >= 14, "{space:?}");
    assert!(space.available() > 0);
    place.end().await;
}

async fn no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::openssh().await;
    let name = b"no \xff\xfe text";
    let path = [place.remote("").as_bytes(), name].concat();
    place.sftp.write(&path, "found").await.unwrap();
    assert_eq!(std::fs::read(place.root("").join(std::ffi::OsStr::from_bytes(name))).unwrap(), b"found");
    let names = place.sftp.list(place.remote("")).await.unwrap();
    assert_eq!(names[0].name, &name[..]);
    place.end().await;
}

async fn no_subsystem() {
    let (daemon, config) = crate::support::daemon(ractor_ssh::Router::new()).await;
    let error = SftpClient::open_session(config).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Start(_)), "{error:?}");
    assert!(error.to_string().starts_with("open an SFTP session: no SFTP session"), "{error}");
    daemon.stop().await;
}
