//! What is read from files and written to them.

use std::sync::{Arc, Mutex};

use ractor_ssh::sftp::{SftpErrorKind, SftpOptions, Transfer};
use tokio::io::AsyncReadExt as _;

use super::server::{DATA, HANDLE, answer, file_of, is_protocol, server, status, string};
use crate::support::{bytes, soon};

pub(super) async fn more_data_than_was_asked_for_is_an_error() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| {
        file_of(&asked, 10).unwrap_or_else(|| answer(DATA, asked.id, &string(&[0; 5000])))
    })
    .await;
    let file = sftp.open("x").await.unwrap();
    assert!(is_protocol(&soon("read", file.read_at(0, 10)).await.unwrap_err()));
    drop(file);
    let directory = tempfile::tempdir().unwrap();
    let error = soon("download", sftp.download("x", directory.path().join("x"), Transfer::new())).await;
    assert!(is_protocol(&error.unwrap_err()));
    daemon.stop().await;
}

pub(super) async fn a_handle_without_measure_is_an_error() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| answer(HANDLE, asked.id, &string(&[0; 257]))).await;
    assert!(is_protocol(&soon("open", sftp.open("x")).await.unwrap_err()));
    daemon.stop().await;
}

pub(super) async fn short_answers_are_asked_on_and_put_together() {
    let content = bytes(1 << 20);
    let served = content.clone();
    let (daemon, sftp) = server(SftpOptions::new(), move |asked| {
        file_of(&asked, 1 << 20).unwrap_or_else(|| {
            let (offset, len) = asked.offset_and_len();
            // Never more than 3,000 bytes, and never what was asked for.
            let rest = &served[served.len().min(offset as usize)..];
            match rest.len().min(3000).min((len as usize).div_ceil(2)) {
                0 => status(asked.id, 1),
                len => answer(DATA, asked.id, &string(&rest[..len])),
            }
        })
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    soon("download", sftp.download("x", &path, Transfer::new())).await.unwrap();
    assert!(std::fs::read(path).unwrap() == content);
    let mut back = Vec::new();
    let mut file = sftp.open("x").await.unwrap();
    soon("read", file.read_to_end(&mut back)).await.unwrap();
    assert!(back == content);
    daemon.stop().await;
}

pub(super) async fn handles_of_no_and_of_256_bytes_go_back_as_they_came() {
    for handle in [Vec::new(), vec![0xff; 256]] {
        let given = handle.clone();
        let (daemon, sftp) = server(SftpOptions::new(), move |asked| match asked.kind {
            3 => answer(HANDLE, asked.id, &string(&given)),
            _ => status(asked.id, if asked.string() == given { 0 } else { 4 }),
        })
        .await;
        let file = soon("open", sftp.create("x")).await.unwrap();
        soon("write", file.write_at(7, b"text")).await.unwrap();
        soon("close", file.close()).await.unwrap();
        daemon.stop().await;
    }
}

pub(super) async fn a_file_that_ends_early_is_an_error_and_what_came_stays() {
    // The end is told with a status, or with data that is none.
    for with_status in [true, false] {
        let (daemon, sftp) = server(SftpOptions::new(), move |asked| {
            file_of(&asked, 10).unwrap_or_else(|| match asked.offset_and_len().0 {
                0 => answer(DATA, asked.id, &string(b"text")),
                _ if with_status => status(asked.id, 1),
                _ => answer(DATA, asked.id, &string(b"")),
            })
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let error = soon("download", sftp.download("x", &path, Transfer::new())).await.unwrap_err();
        assert!(matches!(error.kind, SftpErrorKind::Short { size: 10, got: 4 }), "{error:?}");
        assert_eq!(std::fs::read(path).unwrap(), b"text");
        daemon.stop().await;
    }
}

pub(super) async fn a_status_in_the_place_of_data_is_the_error_of_the_file() {
    const PIECE: u64 = 32 << 10;
    let (daemon, sftp) = server(SftpOptions::new(), |asked| {
        file_of(&asked, 10 * PIECE).unwrap_or_else(|| match asked.offset_and_len() {
            (at, _) if at == 3 * PIECE => status(asked.id, 4),
            (_, len) => answer(DATA, asked.id, &string(&vec![b'x'; len as usize])),
        })
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let error = soon("download", sftp.download("x", &path, Transfer::new())).await.unwrap_err();
    assert_eq!(error.status(), Some(ractor_ssh::sftp::SftpStatus::Failure), "{error}");
    // Not what came behind the gap.
    assert_eq!(std::fs::read(path).unwrap().len() as u64, 3 * PIECE);
    assert!(sftp.ended().is_none());
    daemon.stop().await;
}

pub(super) async fn an_upload_that_cannot_be_written_on_is_cut_to_what_is_known() {
    const PIECE: u64 = 32 << 10;
    let cuts: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&cuts);
    let (daemon, sftp) = server(SftpOptions::new(), move |asked| match asked.kind {
        3 => answer(HANDLE, asked.id, &string(b"h")),
        // The third piece is lost, those behind it are not.
        6 if asked.rest[5..13] == (2 * PIECE).to_be_bytes() => status(asked.id, 4),
        10 => {
            assert_eq!(asked.rest[5..9], 1_u32.to_be_bytes(), "a size alone");
            seen.lock().unwrap().push(u64::from_be_bytes(asked.rest[9..17].try_into().unwrap()));
            status(asked.id, 0)
        }
        _ => status(asked.id, 0),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x"), bytes(10 * PIECE as usize)).unwrap();
    let error = soon("upload", sftp.upload(directory.path().join("x"), "x", Transfer::new())).await;
    assert_eq!(error.unwrap_err().status(), Some(ractor_ssh::sftp::SftpStatus::Failure));
    assert_eq!(*cuts.lock().unwrap(), [2 * PIECE]);
    daemon.stop().await;
}
