//! What a directory is said to hold.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor_ssh::sftp::{SftpErrorKind, SftpOptions, Transfer};

use super::server::{
    ATTRS, DATA, HANDLE, NAME, answer, directory_of, file_of, is_protocol, names, of_mode, server, status,
    string,
};
use crate::support::soon;

pub(super) async fn a_count_of_names_is_not_believed() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| {
        directory_of(&asked).unwrap_or_else(|| answer(NAME, asked.id, &u32::MAX.to_be_bytes()))
    })
    .await;
    assert!(is_protocol(&soon("list", sftp.list("x")).await.unwrap_err()));
    daemon.stop().await;
}

pub(super) async fn an_endless_listing_is_refused() {
    let (daemon, sftp) = server(SftpOptions::new().most_entries(1000), |asked| {
        directory_of(&asked).unwrap_or_else(|| names(asked.id, &[(&b"again"[..], 0o010_644); 64]))
    })
    .await;
    let error = soon("list", sftp.list("x")).await.unwrap_err();
    assert!(error.to_string().contains("most_entries"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let how = Transfer::new().recursive(true).most_entries(500).keep_going(true);
    let report = soon("download", sftp.download("x", directory.path().join("x"), how)).await.unwrap();
    assert_eq!((report.failed, report.skipped), (1, 500));
    daemon.stop().await;
}

pub(super) async fn a_listing_of_empty_pages_ends() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| directory_of(&asked).unwrap_or_else(|| names(asked.id, &[])))
            .await;
    assert!(soon("list", sftp.list("x")).await.unwrap().is_empty());
    daemon.stop().await;
}

pub(super) async fn names_that_lead_out_are_written_nowhere() {
    for bad in ["../out", "..", ".", "", "/etc/out", "sub/out", "nul\0l", "ok"] {
        let listed = Arc::new(Mutex::new(false));
        let (daemon, sftp) = server(SftpOptions::new(), move |asked| {
            let whole = asked.string() == b"top";
            match asked.kind {
                12 if !std::mem::replace(&mut *listed.lock().unwrap(), true) => {
                    names(asked.id, &[(bad.as_bytes(), 0o100_644)])
                }
                12 => status(asked.id, 1),
                5 if asked.offset_and_len().0 == 0 => answer(DATA, asked.id, &string(b"evil!")),
                5 => status(asked.id, 1),
                11 => answer(HANDLE, asked.id, &string(b"d")),
                17 if whole => answer(ATTRS, asked.id, &of_mode(0o040_755)),
                _ => file_of(&asked, 5).unwrap_or_else(|| status(asked.id, 4)),
            }
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("a/top");
        std::fs::create_dir(directory.path().join("a")).unwrap();
        let result = soon("download", sftp.download("top", &top, Transfer::new().recursive(true))).await;
        let mut there = Vec::new();
        let mut open = vec![directory.path().to_owned()];
        while let Some(path) = open.pop() {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { there.push(path) }
            }
        }
        match bad {
            "ok" => {
                result.unwrap();
                assert_eq!(there, [top.join("ok")]);
            }
            // The two that every directory has.
            "." | ".." => assert!(result.unwrap().files == 0 && there.is_empty()),
            _ => {
                let error = result.unwrap_err();
                assert!(matches!(error.kind, SftpErrorKind::Refused { .. }), "{bad:?}: {error}");
                assert!(there.is_empty(), "{bad:?}: {there:?}");
            }
        }
        assert!(!std::path::Path::new("/etc/out").exists());
        daemon.stop().await;
    }
}

pub(super) async fn names_without_end_are_refused_whether_long_or_dots() {
    let long = vec![b'x'; 200_000];
    for bad in [&long[..], b".", b".."] {
        let told = bad.to_vec();
        let (daemon, sftp) = server(SftpOptions::new().most_entries(1000), move |asked| {
            directory_of(&asked).unwrap_or_else(|| names(asked.id, &[(&told, 0o100_644)]))
        })
        .await;
        let error = soon("list", sftp.list("x")).await.unwrap_err();
        assert!(matches!(error.kind, SftpErrorKind::Refused { .. }), "{error}");
        let word = if bad == long { "200000 bytes" } else { "most_entries" };
        assert!(error.to_string().contains(word), "{error}");
        daemon.stop().await;
    }
    // Neither of the two counts where it belongs.
    let listed = Arc::new(Mutex::new(false));
    let (daemon, sftp) = server(SftpOptions::new().most_entries(1), move |asked| {
        directory_of(&asked).unwrap_or_else(|| {
            if std::mem::replace(&mut *listed.lock().unwrap(), true) {
                return status(asked.id, 1);
            }
            names(asked.id, &[(b".", 0o040_755), (b"..", 0o040_755), (b"one", 0o100_644)])
        })
    })
    .await;
    let entries = soon("list", sftp.list("x")).await.unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.name[..]).collect::<Vec<_>>(), [b"one"]);
    daemon.stop().await;
}

pub(super) async fn a_listing_whose_page_was_given_up_is_not_taken_for_whole() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| directory_of(&asked).unwrap_or_default()).await;
    let mut listing = soon("open", sftp.read_dir("x")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), listing.next_entry()).await.is_err());
    let error = soon("next", listing.next_entry()).await.unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
    assert!(soon("next", listing.next_entry()).await.unwrap().is_none());
    drop((listing, sftp));
    daemon.shutdown(Duration::ZERO).await;
}
