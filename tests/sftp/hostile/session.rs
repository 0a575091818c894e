//! Packets, hello, and answers in general.

use std::time::Duration;

use ractor_ssh::sftp::{SftpClient, SftpErrorKind, SftpOptions};
use tokio::io::AsyncWriteExt as _;

use super::server::{
    ATTRS, DATA, HANDLE, NAME, STATUS, answer, file_of, framed, hello, is_protocol, next, packet, quick,
    server, status, string,
};
use crate::support::{becomes_true, bytes, scripted, soon};

pub(super) async fn an_answer_to_nothing_ends_the_session_with_a_word_about_it() {
    let (daemon, sftp) = server(SftpOptions::new(), |asked| status(asked.id + 7, 0)).await;
    let error = soon("stat", sftp.stat("x")).await.unwrap_err();
    assert!(is_protocol(&error) && error.to_string().contains("request 7"), "{error}");
    assert!(sftp.ended().is_some());
    assert!(is_protocol(&soon("stat", sftp.stat("y")).await.unwrap_err()), "it stays so");
    daemon.stop().await;
}

pub(super) async fn an_answer_of_another_kind_is_an_error_of_its_request_alone() {
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

pub(super) async fn a_packet_of_no_or_too_many_bytes_ends_the_session() {
    for len in [0_u32, (256 << 10) + 1, u32::MAX] {
        let (daemon, sftp) = server(SftpOptions::new(), move |_| len.to_be_bytes().to_vec()).await;
        let error = soon("stat", sftp.stat("x")).await.unwrap_err();
        assert!(is_protocol(&error) && error.to_string().contains(&format!("{len} bytes")), "{error}");
        daemon.stop().await;
    }
}

pub(super) async fn an_end_within_a_packet_is_an_error_for_all_who_wait() {
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

pub(super) async fn hello_must_be_hello_of_version_3() {
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

pub(super) async fn a_silent_server_is_a_timeout() {
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

pub(super) async fn a_server_that_trickles_one_packet_for_ever_is_a_timeout() {
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

pub(super) async fn a_lost_answer_is_a_timeout_while_others_come() {
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

pub(super) async fn limits_without_sense_are_lived_with() {
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

pub(super) async fn an_answer_that_comes_twice_ends_the_session() {
    let (daemon, sftp) =
        server(SftpOptions::new(), |asked| [status(asked.id, 0), status(asked.id, 0)].concat()).await;
    soon("mkdir", sftp.mkdir("x")).await.unwrap();
    becomes_true("it is over", || sftp.ended().is_some()).await;
    assert!(is_protocol(&soon("mkdir", sftp.mkdir("y")).await.unwrap_err()));
    daemon.stop().await;
}

pub(super) async fn limits_that_are_offered_and_not_told_are_done_without() {
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

pub(super) async fn an_answer_in_crumbs_is_put_together() {
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

pub(super) async fn words_on_stderr_are_not_in_the_way() {
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

pub(super) async fn noise_is_never_a_panic() {
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
