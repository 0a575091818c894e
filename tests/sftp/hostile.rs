//! Servers that do not keep to the protocol: values and errors, within their time, and nothing outside of the directory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::DaemonRef;
use ractor_ssh::session::ServerStream;
use ractor_ssh::sftp::{SftpClient, SftpError, SftpErrorKind, SftpOptions, Transfer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kit::peer_test;
use crate::support::{becomes_true, bytes, scripted, soon};

pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(peer_test(concat!("hostile::", stringify!($name)), [], $name)),*]
        };
    }
    trials![
        an_answer_to_nothing_ends_the_session_with_a_word_about_it,
        an_answer_of_another_kind_is_an_error_of_its_request_alone,
        a_packet_of_no_or_too_many_bytes_ends_the_session,
        an_end_within_a_packet_is_an_error_for_all_who_wait,
        hello_must_be_hello_of_version_3,
        a_silent_server_is_a_timeout,
        a_server_that_trickles_one_packet_for_ever_is_a_timeout,
        a_lost_answer_is_a_timeout_while_others_come,
        more_data_than_was_asked_for_is_an_error,
        a_handle_without_measure_is_an_error,
        a_count_of_names_is_not_believed,
        an_endless_listing_is_refused,
        a_listing_of_empty_pages_ends,
        names_that_lead_out_are_written_nowhere,
        limits_without_sense_are_lived_with,
        short_answers_are_asked_on_and_put_together,
        an_answer_that_comes_twice_ends_the_session,
        handles_of_no_and_of_256_bytes_go_back_as_they_came,
        limits_that_are_offered_and_not_told_are_done_without,
        names_without_end_are_refused_whether_long_or_dots,
        a_listing_whose_page_was_given_up_is_not_taken_for_whole,
        a_file_that_ends_early_is_an_error_and_what_came_stays,
        a_status_in_the_place_of_data_is_the_error_of_the_file,
        an_answer_in_crumbs_is_put_together,
        words_on_stderr_are_not_in_the_way,
        an_upload_that_cannot_be_written_on_is_cut_to_what_is_known,
        noise_is_never_a_panic,
    ]
}

pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// One request: its kind, its id, and the rest.
pub(crate) struct Asked {
    pub(crate) kind: u8,
    pub(crate) id: u32,
    pub(crate) rest: Vec<u8>,
}

impl Asked {
    /// The rest behind one string, as numbers.
    fn offset_and_len(&self) -> (u64, u32) {
        let at = 4 + u32::from_be_bytes(self.rest[..4].try_into().unwrap()) as usize;
        let offset = u64::from_be_bytes(self.rest[at..at + 8].try_into().unwrap());
        (offset, u32::from_be_bytes(self.rest[at + 8..at + 12].try_into().unwrap()))
    }

    pub(crate) fn string(&self) -> Vec<u8> {
        let len = u32::from_be_bytes(self.rest[..4].try_into().unwrap()) as usize;
        self.rest[4..4 + len].to_vec()
    }
}

/// The next packet's type and body; `None` at the end.
pub(crate) async fn packet(stream: &mut ServerStream) -> Option<(u8, Vec<u8>)> {
    let len = stream.read_u32().await.ok()?;
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some((bytes[0], bytes[1..].to_vec()))
}

pub(crate) async fn next(stream: &mut ServerStream) -> Option<Asked> {
    let (kind, body) = packet(stream).await?;
    Some(Asked { kind, id: u32::from_be_bytes(body[..4].try_into().unwrap()), rest: body[4..].to_vec() })
}

pub(crate) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[kind], body].concat()
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

pub(crate) fn answer(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    framed(kind, &[&id.to_be_bytes()[..], body].concat())
}

pub(crate) fn status(id: u32, code: u32) -> Vec<u8> {
    answer(STATUS, id, &[&code.to_be_bytes()[..], &string(b""), &string(b"")].concat())
}

/// Attributes with a mode alone.
fn of_mode(mode: u32) -> Vec<u8> {
    [4_u32.to_be_bytes(), mode.to_be_bytes()].concat()
}

fn names(id: u32, names: &[(&[u8], u32)]) -> Vec<u8> {
    let mut body = (names.len() as u32).to_be_bytes().to_vec();
    for (name, mode) in names {
        body.extend([string(name), string(b"long"), of_mode(*mode)].concat());
    }
    answer(NAME, id, &body)
}

/// Says hello, with these extensions.
pub(crate) async fn hello(stream: &mut ServerStream, extensions: &[&str]) {
    let (kind, _) = packet(stream).await.unwrap();
    assert_eq!(kind, 1);
    let mut body = 3_u32.to_be_bytes().to_vec();
    extensions.iter().for_each(|name| body.extend([string(name.as_bytes()), string(b"1")].concat()));
    stream.write_all(&framed(2, &body)).await.unwrap();
}

/// A session with a server that says hello and answers each request with what the function says.
async fn server(
    options: SftpOptions,
    respond: impl Fn(Asked) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> (DaemonRef, SftpClient) {
    let (daemon, config) = scripted(move |mut stream| {
        let respond = respond.clone();
        async move {
            hello(&mut stream, &[]).await;
            while let Some(asked) = next(&mut stream).await {
                if stream.write_all(&respond(asked)).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let sftp = soon("hello", SftpClient::open_session_with(config, options)).await.unwrap();
    (daemon, sftp)
}

fn quick() -> SftpOptions {
    SftpOptions::new().timeout(Duration::from_millis(500))
}

fn is_protocol(error: &SftpError) -> bool {
    matches!(error.kind, SftpErrorKind::Protocol { .. })
}

async fn an_answer_to_nothing_ends_the_session_with_a_word_about_it() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| status(asked.id + 7, 0)).await;
    let error = soon("stat", sftp.stat("x")).await.unwrap_err();
    assert!(is_protocol(&error) && error.to_string().contains("request 7"), "{error}");
    assert!(sftp.ended().is_some());
    assert!(is_protocol(&soon("stat", sftp.stat("y")).await.unwrap_err()), "it stays so");
    daemon.stop().await;
}

async fn an_answer_of_another_kind_is_an_error_of_its_request_alone() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| match asked.kind {
        17 => answer(HANDLE, asked.id, &string(b"what")),
        _ => status(asked.id, 0),
    })
    .await;
    assert!(is_protocol(&soon("stat", sftp.stat("x")).await.unwrap_err()));
    let opened = soon("open", sftp.open("x")).await;
    assert!(is_protocol(&opened.unwrap_err()), "ok is no handle");
    soon("mkdir", sftp.mkdir("x")).await.unwrap();
    assert!(sftp.ended().is_none());
    daemon.stop().await;
}

async fn a_packet_of_no_or_too_many_bytes_ends_the_session() {
    for len in [0_u32, (256 << 10) + 1, u32::MAX] {
        let (daemon, sftp) = server(SftpOptions::new(), move |_| len.to_be_bytes().to_vec()).await;
        let error = soon("stat", sftp.stat("x")).await.unwrap_err();
        assert!(is_protocol(&error) && error.to_string().contains(&format!("{len} bytes")), "{error}");
        daemon.stop().await;
    }
}

async fn an_end_within_a_packet_is_an_error_for_all_who_wait() {
    let (daemon, config) = scripted(|mut stream| async move {
        hello(&mut stream, &[]).await;
        let (first, _second) = (next(&mut stream).await.unwrap(), next(&mut stream).await.unwrap());
        let whole = status(first.id, 0);
        stream.write_all(&whole[..6]).await.unwrap();
    })
    .await;
    let sftp = SftpClient::open_session(config).await.unwrap();
    let (one, other) = soon("both", async { tokio::join!(sftp.stat("x"), sftp.stat("y")) }).await;
    for error in [one.unwrap_err(), other.unwrap_err()] {
        assert!(matches!(error.kind, SftpErrorKind::Ended { .. }), "{error:?}");
    }
    daemon.stop().await;
}

async fn hello_must_be_hello_of_version_3() {
    let version = |number: u32| framed(2, &number.to_be_bytes());
    for greeting in [version(2), version(6), framed(STATUS, &[0; 12]), b"Welcome to the machine\n".to_vec()] {
        let (daemon, config) = scripted(move |mut stream| {
            let greeting = greeting.clone();
            async move {
                stream.write_all(&greeting).await.unwrap();
                while packet(&mut stream).await.is_some() {}
            }
        })
        .await;
        let error = soon("hello", SftpClient::open_session(config)).await.unwrap_err();
        assert!(is_protocol(&error), "{error}");
        daemon.stop().await;
    }
}

async fn a_silent_server_is_a_timeout() {
    let (daemon, sftp) = server(quick(), |_| Vec::new()).await;
    let error = soon("stat", sftp.stat("x")).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Timeout { .. }), "{error}");
    soon("close", sftp.close()).await;
    let (mute, config) =
        scripted(|mut stream| async move { while packet(&mut stream).await.is_some() {} }).await;
    let error = soon("hello", SftpClient::open_session_with(config, quick())).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Timeout { .. }), "{error}");
    daemon.stop().await;
    mute.stop().await;
}

async fn a_server_that_trickles_one_packet_for_ever_is_a_timeout() {
    let (daemon, config) = scripted(|mut stream| async move {
        hello(&mut stream, &[]).await;
        let asked = next(&mut stream).await.unwrap();
        let body = answer(DATA, asked.id, &string(&[0; 100_000]));
        for byte in body {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let sftp = SftpClient::open_session_with(config, quick()).await.unwrap();
    let error = soon("stat", sftp.stat("x")).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Timeout { .. }), "{error}");
    drop(sftp);
    daemon.stop().await;
}

async fn a_lost_answer_is_a_timeout_while_others_come() {
    let (daemon, sftp) =
        server(quick(), |asked| if asked.string() == b"lost" { Vec::new() } else { status(asked.id, 0) })
            .await;
    let others = async {
        loop {
            sftp.mkdir("x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let error = soon("lost", async {
        tokio::select! {
            error = sftp.remove("lost") => error.unwrap_err(),
            () = others => panic!("they have no end"),
        }
    })
    .await;
    assert!(matches!(error.kind, SftpErrorKind::Timeout { .. }), "{error}");
    becomes_true("the lost one alone is unanswered", || sftp.unanswered() == 1).await;
    drop(sftp);
    daemon.shutdown(Duration::ZERO).await;
}

/// Files are opened, and have this size.
fn file_of(asked: &Asked, size: u64) -> Option<Vec<u8>> {
    match asked.kind {
        3 => Some(answer(HANDLE, asked.id, &string(b"h"))),
        4 => Some(status(asked.id, 0)),
        7 | 8 | 17 => {
            let body = [&5_u32.to_be_bytes()[..], &size.to_be_bytes(), &0o100_644_u32.to_be_bytes()].concat();
            Some(answer(ATTRS, asked.id, &body))
        }
        _ => None,
    }
}

async fn more_data_than_was_asked_for_is_an_error() {
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

async fn a_handle_without_measure_is_an_error() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| answer(HANDLE, asked.id, &string(&[0; 257]))).await;
    assert!(is_protocol(&soon("open", sftp.open("x")).await.unwrap_err()));
    daemon.stop().await;
}

fn directory_of(asked: &Asked) -> Option<Vec<u8>> {
    match asked.kind {
        11 => Some(answer(HANDLE, asked.id, &string(b"d"))),
        7 | 17 => Some(answer(ATTRS, asked.id, &of_mode(0o040_755))),
        4 => Some(status(asked.id, 0)),
        _ => None,
    }
}

async fn a_count_of_names_is_not_believed() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| {
        directory_of(&asked).unwrap_or_else(|| answer(NAME, asked.id, &u32::MAX.to_be_bytes()))
    })
    .await;
    assert!(is_protocol(&soon("list", sftp.list("x")).await.unwrap_err()));
    daemon.stop().await;
}

async fn an_endless_listing_is_refused() {
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

async fn a_listing_of_empty_pages_ends() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| directory_of(&asked).unwrap_or_else(|| names(asked.id, &[])))
            .await;
    assert!(soon("list", sftp.list("x")).await.unwrap().is_empty());
    daemon.stop().await;
}

async fn names_that_lead_out_are_written_nowhere() {
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

async fn limits_without_sense_are_lived_with() {
    for limits in [[0_u64; 4], [1; 4], [u64::MAX; 4], [300, 0, 0, 0]] {
        let (daemon, config) = scripted(move |mut stream| async move {
            hello(&mut stream, &["limits@openssh.com"]).await;
            while let Some(asked) = next(&mut stream).await {
                let body: Vec<u8> = limits.iter().flat_map(|limit| limit.to_be_bytes()).collect();
                let reply = match asked.kind {
                    200 => answer(201, asked.id, &body),
                    6 => status(asked.id, 0),
                    _ => file_of(&asked, 5).unwrap_or_else(|| status(asked.id, 1)),
                };
                if stream.write_all(&reply).await.is_err() {
                    break;
                }
            }
        })
        .await;
        let sftp = soon("hello", SftpClient::open_session(config)).await.unwrap();
        soon("write", sftp.write("x", "hello")).await.unwrap();
        daemon.stop().await;
    }
}

async fn short_answers_are_asked_on_and_put_together() {
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

async fn an_answer_that_comes_twice_ends_the_session() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| [status(asked.id, 0), status(asked.id, 0)].concat()).await;
    soon("mkdir", sftp.mkdir("x")).await.unwrap();
    becomes_true("it is over", || sftp.ended().is_some()).await;
    assert!(is_protocol(&soon("mkdir", sftp.mkdir("y")).await.unwrap_err()));
    daemon.stop().await;
}

async fn handles_of_no_and_of_256_bytes_go_back_as_they_came() {
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

async fn limits_that_are_offered_and_not_told_are_done_without() {
    let (daemon, config) = scripted(|mut stream| async move {
        hello(&mut stream, &["limits@openssh.com"]).await;
        while let Some(asked) = next(&mut stream).await {
            let reply = match asked.kind {
                200 => status(asked.id, 8),
                3 => answer(HANDLE, asked.id, &string(b"h")),
                // Nothing longer than what every server must take.
                6 => status(asked.id, if asked.rest.len() < (32 << 10) + 100 { 0 } else { 5 }),
                _ => status(asked.id, 0),
            };
            if stream.write_all(&reply).await.is_err() {
                break;
            }
        }
    })
    .await;
    let sftp = soon("hello", SftpClient::open_session(config)).await.unwrap();
    soon("write", sftp.write("x", bytes(100_000))).await.unwrap();
    daemon.stop().await;
}

async fn names_without_end_are_refused_whether_long_or_dots() {
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

async fn a_listing_whose_page_was_given_up_is_not_taken_for_whole() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| directory_of(&asked).unwrap_or_default()).await;
    let mut listing = soon("open", sftp.read_dir("x")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), listing.next_entry()).await.is_err());
    let error = soon("next", listing.next_entry()).await.unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
    assert!(soon("next", listing.next_entry()).await.unwrap().is_none());
    drop((listing, sftp));
    daemon.shutdown(Duration::ZERO).await;
}

async fn a_file_that_ends_early_is_an_error_and_what_came_stays() {
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

async fn a_status_in_the_place_of_data_is_the_error_of_the_file() {
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

async fn an_answer_in_crumbs_is_put_together() {
    let content = bytes(3000);
    let served = content.clone();
    let (daemon, config) = scripted(move |mut stream| {
        let served = served.clone();
        async move {
            hello(&mut stream, &[]).await;
            while let Some(asked) = next(&mut stream).await {
                let reply = file_of(&asked, 3000).unwrap_or_else(|| {
                    let rest = &served[served.len().min(asked.offset_and_len().0 as usize)..];
                    if rest.is_empty() { status(asked.id, 1) } else { answer(DATA, asked.id, &string(rest)) }
                });
                for byte in reply {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    // Each in a packet of its own.
                    let _ = stream.flush().await;
                }
            }
        }
    })
    .await;
    let sftp = SftpClient::open_session(config).await.unwrap();
    assert!(soon("read", sftp.read("x", 3000)).await.unwrap() == content);
    daemon.stop().await;
}

async fn words_on_stderr_are_not_in_the_way() {
    let (daemon, config) = scripted(|mut stream| async move {
        hello(&mut stream, &[]).await;
        let mut stderr = stream.stderr();
        while let Some(asked) = next(&mut stream).await {
            // More than all windows and budgets between here and there.
            for _ in 0..32 {
                if stderr.write_all(&vec![b'!'; 1 << 20]).await.is_err() {
                    return;
                }
            }
            let _ = stream.write_all(&status(asked.id, 0)).await;
        }
    })
    .await;
    let sftp = SftpClient::open_session(config).await.unwrap();
    soon("mkdir", sftp.mkdir("x")).await.unwrap();
    daemon.stop().await;
}

async fn an_upload_that_cannot_be_written_on_is_cut_to_what_is_known() {
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

async fn noise_is_never_a_panic() {
    let noise = bytes(200_000);
    for round in 0..40_usize {
        let noise = noise[round * 3000..].to_vec();
        let (daemon, sftp) = server(quick(), move |asked| {
            let from = (asked.id as usize * 131) % 1000;
            let kind = [STATUS, HANDLE, DATA, NAME, ATTRS, 201][(round + asked.id as usize) % 6];
            let len = noise[from] as usize;
            // Sometimes small numbers, so that more than the first field is read.
            let mut body = noise[from..from + len].to_vec();
            if round % 2 == 0 && body.len() > 3 {
                body[..3].fill(0);
            }
            answer(kind, asked.id, &body)
        })
        .await;
        let _ = soon("open", sftp.open("x")).await;
        let _ = soon("list", sftp.list("x")).await;
        let _ = soon("stat", sftp.stat("x")).await;
        let _ = soon("real_path", sftp.real_path("x")).await;
        let _ = soon("read", sftp.read("x", 1000)).await;
        daemon.shutdown(Duration::ZERO).await;
    }
}
