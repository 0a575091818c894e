//! Files as streams.

use std::io::SeekFrom;

use libtest_mimic::Trial;
use ractor_ssh::sftp::{Attributes, OpenFlags};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::support::{Place, both, bytes};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = both("a_stream_is_written_and_read_byte_for_byte", stream);
    trials.extend(both("seeks_go_where_they_say_and_not_before_the_beginning", seek));
    trials.extend(both("reads_and_writes_at_offsets_leave_the_position_alone", offsets));
    trials.extend(both("exclusive_means_that_it_was_not_there", exclusive));
    trials.extend(both("two_hundred_files_are_open_at_a_time", handles));
    trials.extend(both("a_failed_write_is_told", read_only));
    trials
}

async fn stream(place: Place) {
    // More than is read ahead, and no multiple of anything.
    let content = bytes((5 << 20) + 4321);
    let mut file = place.sftp.create(place.remote("file")).await.unwrap();
    file.write_all(&content).await.unwrap();
    file.sync().await.unwrap();
    file.close().await.unwrap();
    assert!(std::fs::read(place.root("file")).unwrap() == content);
    let mut back = Vec::new();
    let mut file = place.sftp.open(place.remote("file")).await.unwrap();
    file.read_to_end(&mut back).await.unwrap();
    assert!(back == content);
    // Somebody has written on: who reads again gets it.
    {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).open(place.root("file")).unwrap();
        file.write_all(b"more").unwrap();
    }
    back.clear();
    file.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"more");
    place.end().await;
}

async fn seek(place: Place) {
    let content = bytes(1 << 20);
    std::fs::write(place.root("file"), &content).unwrap();
    let flags = OpenFlags::READ | OpenFlags::WRITE;
    let mut file = place.sftp.open_with(place.remote("file"), flags, Attributes::new()).await.unwrap();
    let mut four = [0; 4];
    for (to, at) in [
        (SeekFrom::Start(700_000), 700_000),
        (SeekFrom::Current(-100), 699_904),
        (SeekFrom::End(-4), (1 << 20) - 4),
        (SeekFrom::Start(5), 5),
    ] {
        assert_eq!(file.seek(to).await.unwrap(), at as u64);
        file.read_exact(&mut four).await.unwrap();
        assert_eq!(four[..], content[at..at + 4], "{to:?}");
    }
    assert!(file.seek(SeekFrom::Current(-100)).await.is_err());
    assert!(file.seek(SeekFrom::End(-(2 << 20))).await.is_err());
    // What is written is seen by the next read, and counted by the next seek to the end.
    file.seek(SeekFrom::Start(9)).await.unwrap();
    file.write_all(b"here").await.unwrap();
    file.seek(SeekFrom::Start(9)).await.unwrap();
    file.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"here");
    assert_eq!(file.seek(SeekFrom::End(0)).await.unwrap(), 1 << 20);
    file.write_all(b"tail").await.unwrap();
    assert_eq!(file.seek(SeekFrom::End(0)).await.unwrap(), (1 << 20) + 4);
    file.close().await.unwrap();
    place.end().await;
}

async fn offsets(place: Place) {
    let content = bytes(700_000);
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE;
    let mut file = place.sftp.open_with(place.remote("file"), flags, Attributes::new()).await.unwrap();
    file.write_at(0, &content).await.unwrap();
    let (front, back) = tokio::join!(file.read_at(0, 500_000), file.read_at(500_000, 500_000));
    assert!([front.unwrap(), back.unwrap()].concat() == content);
    assert_eq!(file.stream_position().await.unwrap(), 0);
    assert_eq!(file.stat().await.unwrap().size, Some(700_000));
    place.end().await;
}

async fn exclusive(place: Place) {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let path = place.remote("file");
    let attributes = Attributes::new().permissions(0o600);
    place.sftp.open_with(&path, flags, attributes).await.unwrap().close().await.unwrap();
    assert_eq!(crate::support::mode(&place.root("file")), 0o600);
    assert!(place.sftp.open_with(&path, flags, attributes).await.is_err());
    place.end().await;
}

/// OpenSSH's handles are numbers of four bytes: the 129th is no text any more.
async fn handles(place: Place) {
    let count = if place.is_openssh() { 200 } else { 60 };
    let mut files = Vec::new();
    for number in 0..count {
        let mut file = place.sftp.create(place.remote(&number.to_string())).await.unwrap();
        file.write_all(number.to_string().as_bytes()).await.unwrap();
        files.push(file);
    }
    for file in files {
        file.close().await.unwrap();
    }
    for number in 0..count {
        assert_eq!(std::fs::read_to_string(place.root(&number.to_string())).unwrap(), number.to_string());
    }
    place.end().await;
}

async fn read_only(place: Place) {
    place.sftp.write(place.remote("file"), "text").await.unwrap();
    let mut file = place.sftp.open(place.remote("file")).await.unwrap();
    file.write_all(b"no").await.unwrap();
    let error = file.flush().await.unwrap_err();
    assert!(error.to_string().starts_with("write "), "{error}");
    assert_eq!(std::fs::read(place.root("file")).unwrap(), b"text");
    place.end().await;
}
