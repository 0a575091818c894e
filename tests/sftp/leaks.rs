//! What is dropped leaves nothing behind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::sftp::{SftpClient, SftpErrorKind, SftpOptions, Transfer};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::hostile::server::{HANDLE, answer, hello, next, packet, status, string};
use crate::kit::{Peer, peer_test};
use crate::support::{Place, becomes_true, both, bytes, scripted, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let none: [Peer; 0] = [];
    let real = [Peer::OpenSshServer, Peer::OpenSshSftp];
    let mut trials = vec![
        peer_test("a_file_whose_opening_was_given_up_is_closed_when_it_is_open", none, late_open),
        peer_test("a_handle_is_closed_once_even_if_the_close_is_given_up", none, one_close),
        peer_test("openssh::a_session_whose_server_is_killed_is_over_for_all", real, killed),
        peer_test("openssh::a_timeout_does_not_count_while_the_server_answers", real, patient),
    ];
    trials.extend(both("a_transfer_that_is_dropped_leaves_a_beginning_and_nothing_open", dropped));
    trials.push(peer_test("a_session_whose_hello_was_given_up_leaves_no_channel", none, no_hello));
    trials.extend(both("a_tree_that_is_dropped_leaves_nothing_open", tree));
    trials.extend(both("a_session_that_is_dropped_closes_its_channel", session));
    trials
}

type Log = Arc<Mutex<Vec<(u8, Vec<u8>)>>>;

async fn late_open() {
    let (log, go) = (Log::default(), Arc::new(Notify::new()));
    let (seen, gone) = (Arc::clone(&log), Arc::clone(&go));
    let (daemon, config) = scripted(move |mut stream| {
        let (log, go) = (Arc::clone(&seen), Arc::clone(&gone));
        async move {
            hello(&mut stream, &[]).await;
            while let Some(asked) = next(&mut stream).await {
                log.lock().unwrap().push((asked.kind, asked.string()));
                let reply = if asked.kind == 3 {
                    go.notified().await;
                    answer(HANDLE, asked.id, &string(b"late"))
                } else {
                    status(asked.id, 0)
                };
                stream.write_all(&reply).await.unwrap();
            }
        }
    })
    .await;
    let sftp = SftpClient::open_session(config).await.unwrap();
    let opening = tokio::spawn({
        let sftp = sftp.clone();
        async move { sftp.open("x").await.map(|_| ()) }
    });
    becomes_true("it is asked for", || !log.lock().unwrap().is_empty()).await;
    opening.abort();
    let _ = opening.await;
    go.notify_one();
    becomes_true("it is closed", || log.lock().unwrap().contains(&(4, b"late".to_vec()))).await;
    becomes_true("nothing is unanswered", || sftp.unanswered() == 0).await;
    daemon.stop().await;
}

async fn one_close() {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let (daemon, config) = scripted(move |mut stream| {
        let log = Arc::clone(&seen);
        async move {
            hello(&mut stream, &[]).await;
            while let Some(asked) = next(&mut stream).await {
                log.lock().unwrap().push((asked.kind, asked.string()));
                let reply = match asked.kind {
                    3 => answer(HANDLE, asked.id, &string(b"h")),
                    // Never answered.
                    4 => continue,
                    _ => status(asked.id, 0),
                };
                stream.write_all(&reply).await.unwrap();
            }
        }
    })
    .await;
    let sftp = SftpClient::open_session(config).await.unwrap();
    let file = sftp.open("x").await.unwrap();
    let closing = tokio::spawn(file.close());
    let closes = || log.lock().unwrap().iter().filter(|(kind, _)| *kind == 4).count();
    becomes_true("it is closed", || closes() == 1).await;
    closing.abort();
    let _ = closing.await;
    sftp.mkdir("later").await.unwrap();
    assert_eq!(closes(), 1);
    daemon.stop().await;
}

/// Directories and files that a program has open below this one.
fn open_below(pids: &[i32], directory: &std::path::Path) -> usize {
    let directory = std::fs::canonicalize(directory).unwrap();
    let links =
        pids.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten());
    let links = links.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    // Our daemon has the directory itself open, as its root.
    links.filter(|target| target.starts_with(&directory) && *target != directory).count()
}

async fn dropped(place: Place) {
    let content = bytes(40 << 20);
    std::fs::write(place.local("whole"), &content).unwrap();
    std::fs::write(place.root("whole"), &content).unwrap();
    for up in [true, false] {
        let begun = Arc::new(Notify::new());
        let told = Arc::clone(&begun);
        let how = Transfer::new().in_flight(1 << 20).on_progress(move |now| {
            if now.at > 1 << 20 {
                told.notify_one();
            }
        });
        {
            let transfer = async {
                if up {
                    place.sftp.upload(place.local("whole"), place.remote("part"), how).await
                } else {
                    place.sftp.download(place.remote("whole"), place.local("part"), how).await
                }
            };
            tokio::select! {
                _ = transfer => panic!("it was done before it could be given up"),
                () = begun.notified() => {}
            }
        }
        becomes_true("all is answered", || place.sftp.unanswered() == 0).await;
        let pids = place.sshd().map(|sshd| sshd.pids()).unwrap_or_else(|| vec![std::process::id() as i32]);
        becomes_true("nothing is open", || open_below(&pids, &place.root("")) == 0).await;
        becomes_true("nothing is open here", || {
            open_below(&[std::process::id() as i32], &place.local("")) == 0
        })
        .await;
        let part = std::fs::read(if up { place.root("part") } else { place.local("part") }).unwrap();
        assert!(part.len() > 1 << 20 && part.len() < content.len() && content.starts_with(&part));
        // And on it goes.
        let how = Transfer::new().resume(true);
        let report = if up {
            place.sftp.upload(place.local("whole"), place.remote("part"), how).await.unwrap()
        } else {
            place.sftp.download(place.remote("whole"), place.local("part"), how).await.unwrap()
        };
        assert_eq!(report.resumed, part.len() as u64);
        let whole = std::fs::read(if up { place.root("part") } else { place.local("part") }).unwrap();
        assert!(whole == content);
    }
    place.end().await;
}

async fn no_hello() {
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let (daemon, config) = scripted(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            let _ = packet(&mut stream).await;
            told.notify_one();
            while packet(&mut stream).await.is_some() {}
        }
    })
    .await;
    let conn = ractor_ssh::Client::new(config).connect().await.unwrap();
    {
        let opening = SftpClient::open_session(&conn);
        tokio::select! {
            _ = opening => panic!("nobody said hello"),
            () = asked.notified() => {}
        }
    }
    let end = std::time::Instant::now() + crate::support::SOON;
    while !conn.info().await.unwrap().channels.is_empty() {
        assert!(std::time::Instant::now() < end, "the channel stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    conn.close().await;
    daemon.stop().await;
}

async fn tree(place: Place) {
    for top in [place.local("tree"), place.root("tree")] {
        std::fs::create_dir_all(top.join("sub/deeper")).unwrap();
        for number in 0..200 {
            let below = ["", "sub", "sub/deeper"][number % 3];
            std::fs::write(top.join(below).join(number.to_string()), bytes(20_000)).unwrap();
        }
    }
    for up in [true, false] {
        let begun = Arc::new(Notify::new());
        let told = Arc::clone(&begun);
        let how = Transfer::new().recursive(true).on_progress(move |now| {
            if now.all_files > 20 {
                told.notify_one();
            }
        });
        {
            let transfer = async {
                if up {
                    place.sftp.upload(place.local("tree"), place.remote("up"), how).await
                } else {
                    place.sftp.download(place.remote("tree"), place.local("down"), how).await
                }
            };
            tokio::select! {
                _ = transfer => panic!("it was done before it could be given up"),
                () = begun.notified() => {}
            }
        }
        becomes_true("all is answered", || place.sftp.unanswered() == 0).await;
        let pids = place.sshd().map(|sshd| sshd.pids()).unwrap_or_else(|| vec![std::process::id() as i32]);
        becomes_true("nothing is open", || open_below(&pids, &place.root("")) == 0).await;
        let here = [std::process::id() as i32];
        becomes_true("nothing is open here", || open_below(&here, &place.local("")) == 0).await;
        let how = Transfer::new().recursive(true).resume(true);
        let report = if up {
            place.sftp.upload(place.local("tree"), place.remote("up"), how).await.unwrap()
        } else {
            place.sftp.download(place.remote("tree"), place.local("down"), how).await.unwrap()
        };
        assert_eq!((report.files, report.resumed + report.bytes), (200, 200 * 20_000));
        assert!(report.resumed >= 20 * 20_000, "{}", report.resumed);
    }
    place.end().await;
}

async fn session(place: Place) {
    let other = SftpClient::open_session(&place.conn).await.unwrap();
    let file = other.create(place.remote("file")).await.unwrap();
    let names = other.read_dir(place.remote("")).await.unwrap();
    let clone = other.clone();
    drop(other);
    clone.stat(place.remote("file")).await.unwrap();
    drop((clone, names));
    assert_eq!(place.conn.info().await.unwrap().channels.len(), 2, "a file keeps it");
    drop(file);
    let end = std::time::Instant::now() + crate::support::SOON;
    while place.conn.info().await.unwrap().channels.len() > 1 {
        assert!(std::time::Instant::now() < end, "the channel stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.sftp.stat(place.remote("file")).await.unwrap();
    place.end().await;
}

async fn killed() {
    let place = Place::openssh().await;
    let mut file = place.sftp.create(place.remote("file")).await.unwrap();
    file.write_all(b"text").await.unwrap();
    file.flush().await.unwrap();
    place.sshd().unwrap().kill_sessions();
    let error = soon("stat", async {
        loop {
            if let Err(error) = place.sftp.stat(place.remote("file")).await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error.kind, SftpErrorKind::Ended { .. }), "{error:?}");
    assert!(soon("write", file.write_at(0, b"more")).await.is_err());
    assert!(soon("open", place.sftp.open("x")).await.is_err());
}

/// The last of many requests waits longer than the timeout for its own answer, and not for any.
async fn patient() {
    let place = Place::openssh().await;
    let options = SftpOptions::new().timeout(Duration::from_secs(2));
    let sftp = SftpClient::open_session_with(&place.conn, options).await.unwrap();
    let stopped = place.sshd().unwrap().stop_cont();
    let error = soon("stat", sftp.stat("/")).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Timeout { .. }), "{error}");
    drop(stopped);
    // The late answer is swallowed, the session goes on.
    soon("stat", sftp.stat("/")).await.unwrap();
    becomes_true("nothing is unanswered", || sftp.unanswered() == 0).await;
    place.end().await;
}
