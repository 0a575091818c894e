//! Whole files and trees, both ways.

use std::path::Path;
use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use ractor_ssh::sftp::{Progress, SftpErrorKind, Symlinks, Transfer};

use crate::support::{Place, both, bytes, mode, modified, set_mode, set_time, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = both("files_of_all_sizes_go_both_ways_byte_for_byte", sizes);
    trials.extend(both("trees_go_both_ways_with_modes_and_times", trees));
    trials.extend(both("transfers_go_on_behind_what_is_there", resume));
    trials.extend(both("what_is_there_and_differs_is_written_anew", differs));
    trials.extend(both("progress_is_told_to_the_end", progress));
    trials.extend(both("links_are_skipped_or_followed_as_asked", links));
    trials.extend(both("one_file_that_fails_stops_all_or_is_noted", failures));
    trials.extend(both("local_links_are_not_written_through", walls));
    trials.extend(both("what_is_no_file_is_neither_read_nor_written", no_files));
    trials.extend(both("a_small_budget_is_enough_for_many_files", small_budget));
    trials
}

async fn sizes(place: Place) {
    for len in [0, 1, 32 << 10, (255 << 10) - 1, 255 << 10, (255 << 10) + 1, (9 << 20) + 77] {
        let content = bytes(len);
        std::fs::write(place.local("up"), &content).unwrap();
        let report =
            place.sftp.upload(place.local("up"), place.remote("there"), Transfer::new()).await.unwrap();
        assert_eq!((report.files, report.bytes), (1, len as u64));
        assert!(std::fs::read(place.root("there")).unwrap() == content, "up {len}");
        let report =
            place.sftp.download(place.remote("there"), place.local("down"), Transfer::new()).await.unwrap();
        assert_eq!((report.files, report.bytes), (1, len as u64));
        assert!(std::fs::read(place.local("down")).unwrap() == content, "down {len}");
    }
    place.end().await;
}

/// A tree with an empty directory, an empty file, modes and old times.
fn plant(top: &Path) {
    std::fs::create_dir_all(top.join("sub/empty")).unwrap();
    std::fs::write(top.join("sub/run"), "#!/bin/sh\n").unwrap();
    std::fs::write(top.join("nothing"), "").unwrap();
    std::fs::write(top.join("big"), bytes(1 << 20)).unwrap();
    for number in 0..50 {
        std::fs::write(top.join("sub").join(number.to_string()), bytes(number)).unwrap();
    }
    set_mode(&top.join("sub/run"), 0o750);
    set_mode(&top.join("nothing"), 0o600);
    for (name, time) in [("sub/run", 1_100_000_000), ("big", 1_200_000_000), ("sub/empty", 1_300_000_000)] {
        set_time(&top.join(name), time);
    }
    set_time(&top.join("sub"), 1_400_000_000);
    set_mode(&top.join("sub"), 0o550);
}

fn check(top: &Path) {
    assert_eq!(mode(&top.join("sub/run")), 0o750);
    assert_eq!(mode(&top.join("nothing")), 0o600);
    assert_eq!(mode(&top.join("sub")), 0o550);
    for (name, time) in [
        ("sub/run", 1_100_000_000),
        ("big", 1_200_000_000),
        ("sub/empty", 1_300_000_000),
        ("sub", 1_400_000_000),
    ] {
        assert_eq!(modified(&top.join(name)), time, "{name}");
    }
    assert!(std::fs::read(top.join("big")).unwrap() == bytes(1 << 20));
    for number in 0..50 {
        assert_eq!(std::fs::read(top.join("sub").join(number.to_string())).unwrap(), bytes(number));
    }
}

async fn trees(place: Place) {
    plant(&place.local("tree"));
    let how = Transfer::new().recursive(true).preserve(true);
    let report = place.sftp.upload(place.local("tree"), place.remote("tree"), how.clone()).await.unwrap();
    assert_eq!((report.files, report.directories, report.skipped), (53, 3, 0));
    check(&place.root("tree"));
    let report = place.sftp.download(place.remote("tree"), place.local("back"), how).await.unwrap();
    assert_eq!((report.files, report.directories, report.skipped), (53, 3, 0));
    check(&place.local("back"));

    let error =
        place.sftp.download(place.remote("tree"), place.local("x"), Transfer::new()).await.unwrap_err();
    assert!(error.to_string().contains("recursive"), "{error}");
    let error = place.sftp.upload(place.local("tree"), place.remote("x"), Transfer::new()).await.unwrap_err();
    assert!(error.to_string().contains("recursive"), "{error}");
    for top in [place.local("tree"), place.local("back"), place.root("tree")] {
        set_mode(&top.join("sub"), 0o750);
    }
    place.end().await;
}

async fn resume(place: Place) {
    let content = bytes((3 << 20) + 5);
    let how = Transfer::new().resume(true);
    for have in [1_usize, 70_000, 3 << 20, content.len()] {
        let left = (content.len() - have) as u64;
        std::fs::write(place.local("up"), &content).unwrap();
        std::fs::write(place.root("there"), &content[..have]).unwrap();
        let report = place.sftp.upload(place.local("up"), place.remote("there"), how.clone()).await.unwrap();
        assert_eq!((report.bytes, report.resumed), (left, have as u64));
        assert!(std::fs::read(place.root("there")).unwrap() == content, "up {have}");

        std::fs::write(place.local("down"), &content[..have]).unwrap();
        let report =
            place.sftp.download(place.remote("there"), place.local("down"), how.clone()).await.unwrap();
        assert_eq!((report.bytes, report.resumed), (left, have as u64));
        assert!(std::fs::read(place.local("down")).unwrap() == content, "down {have}");
    }
    place.end().await;
}

async fn differs(place: Place) {
    let content = bytes(200_000);
    let mut wrong = content[..150_000].to_vec();
    wrong[149_000] ^= 1;
    let how = Transfer::new().resume(true);
    for there in [wrong, vec![1; 300_000]] {
        std::fs::write(place.local("up"), &content).unwrap();
        std::fs::write(place.root("there"), &there).unwrap();
        let report = place.sftp.upload(place.local("up"), place.remote("there"), how.clone()).await.unwrap();
        assert_eq!((report.bytes, report.resumed), (200_000, 0));
        assert!(std::fs::read(place.root("there")).unwrap() == content);
        std::fs::write(place.local("down"), &there).unwrap();
        let report =
            place.sftp.download(place.remote("there"), place.local("down"), how.clone()).await.unwrap();
        assert_eq!((report.bytes, report.resumed), (200_000, 0));
        assert!(std::fs::read(place.local("down")).unwrap() == content);
    }
    place.end().await;
}

async fn progress(place: Place) {
    std::fs::create_dir(place.local("tree")).unwrap();
    for (name, len) in [("one", 700_000), ("two", 3)] {
        std::fs::write(place.local("tree").join(name), bytes(len)).unwrap();
    }
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let seen = Arc::clone(&told);
    let how = Transfer::new().recursive(true).on_progress(move |now| seen.lock().unwrap().push(now.clone()));
    place.sftp.upload(place.local("tree"), place.remote("tree"), how.clone()).await.unwrap();
    let up = std::mem::take(&mut *told.lock().unwrap());
    place.sftp.download(place.remote("tree"), place.local("back"), how).await.unwrap();
    let down = std::mem::take(&mut *told.lock().unwrap());
    for told in [up, down] {
        for (name, len) in [("one", 700_000), ("two", 3)] {
            let of: Vec<_> = told.iter().filter(|now| now.path.ends_with(name)).collect();
            assert_eq!((of[0].at, of[0].size), (0, len));
            assert!(of.windows(2).all(|pair| pair[0].at <= pair[1].at));
            let last = of.last().unwrap();
            assert!(last.finished && last.at == len, "{last:?}");
        }
        let last = told.last().unwrap();
        assert_eq!((last.all_bytes, last.all_files), (700_003, 2));
    }
    place.end().await;
}

async fn links(place: Place) {
    std::fs::create_dir(place.local("tree")).unwrap();
    std::fs::write(place.local("tree/file"), "text").unwrap();
    std::os::unix::fs::symlink("file", place.local("tree/link")).unwrap();
    let skip = Transfer::new().recursive(true);
    let follow = skip.clone().symlinks(Symlinks::Follow);
    let report = place.sftp.upload(place.local("tree"), place.remote("skip"), skip.clone()).await.unwrap();
    assert_eq!((report.files, report.skipped), (1, 1));
    assert!(report.skipped_names[0].ends_with("tree/link") && !place.root("skip/link").exists());
    let report =
        place.sftp.upload(place.local("tree"), place.remote("follow"), follow.clone()).await.unwrap();
    assert_eq!((report.files, report.skipped), (2, 0));
    assert!(std::fs::symlink_metadata(place.root("follow/link")).unwrap().is_file());

    std::os::unix::fs::symlink("file", place.root("skip/link")).unwrap();
    let report = place.sftp.download(place.remote("skip"), place.local("one"), skip).await.unwrap();
    assert_eq!((report.files, report.skipped), (1, 1));
    let report = place.sftp.download(place.remote("skip"), place.local("two"), follow.clone()).await.unwrap();
    assert_eq!((report.files, report.skipped), (2, 0));
    assert!(std::fs::symlink_metadata(place.local("two/link")).unwrap().is_file());

    // A circle ends.
    std::os::unix::fs::symlink(".", place.root("skip/self")).unwrap();
    let error = place.sftp.download(place.remote("skip"), place.local("three"), follow).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Refused { .. } | SftpErrorKind::Status { .. }), "{error}");
    place.end().await;
}

async fn failures(place: Place) {
    std::fs::create_dir_all(place.root("tree")).unwrap();
    std::fs::create_dir_all(place.local("back/two")).unwrap();
    for name in ["one", "two", "three"] {
        std::fs::write(place.root("tree").join(name), name).unwrap();
    }
    // Where the file `two` should go is a directory.
    let how = Transfer::new().recursive(true);
    let error =
        place.sftp.download(place.remote("tree"), place.local("back"), how.clone()).await.unwrap_err();
    assert!(matches!(error.kind, SftpErrorKind::Local(_)), "{error}");
    assert!(error.path.ends_with("back/two"), "{error}");
    let report =
        place.sftp.download(place.remote("tree"), place.local("back"), how.keep_going(true)).await.unwrap();
    assert_eq!((report.files, report.failed, report.errors.len()), (2, 1, 1));
    assert_eq!(std::fs::read_to_string(place.local("back/three")).unwrap(), "three");
    place.end().await;
}

async fn walls(place: Place) {
    std::fs::create_dir_all(place.root("tree/sub")).unwrap();
    std::fs::write(place.root("tree/file"), "theirs").unwrap();
    std::fs::write(place.root("tree/sub/file"), "theirs").unwrap();
    std::fs::create_dir_all(place.local("back")).unwrap();
    std::fs::create_dir_all(place.local("elsewhere")).unwrap();
    std::fs::write(place.local("precious"), "ours").unwrap();
    std::os::unix::fs::symlink("../precious", place.local("back/file")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.local("back/sub")).unwrap();
    let how = Transfer::new().recursive(true).keep_going(true);
    let report = place.sftp.download(place.remote("tree"), place.local("back"), how).await.unwrap();
    assert_eq!((report.files, report.failed), (0, 2), "{:?}", report.errors);
    assert_eq!(std::fs::read_to_string(place.local("precious")).unwrap(), "ours");
    assert!(!place.local("elsewhere/file").exists());
    place.end().await;
}

async fn no_files(place: Place) {
    std::fs::create_dir_all(place.local("tree")).unwrap();
    std::fs::write(place.local("precious"), "ours").unwrap();
    std::fs::write(place.root("there"), "theirs").unwrap();
    let pipe = place.local("tree/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    std::os::unix::fs::symlink("precious", place.local("link")).unwrap();
    std::os::unix::fs::symlink("tree", place.local("way")).unwrap();

    // Nobody waits for the other end of a pipe.
    let error = soon("upload", place.sftp.upload(&pipe, place.remote("x"), Transfer::new())).await;
    assert!(matches!(error.unwrap_err().kind, SftpErrorKind::Local(_)));
    let how = Transfer::new().recursive(true);
    let report =
        soon("upload", place.sftp.upload(place.local("tree"), place.remote("tree"), how.clone())).await;
    assert_eq!(report.unwrap().skipped, 1);
    for name in ["tree/pipe", "link"] {
        let error = place.sftp.download(place.remote("there"), place.local(name), Transfer::new());
        assert!(matches!(soon("download", error).await.unwrap_err().kind, SftpErrorKind::Local(_)), "{name}");
    }
    assert_eq!(std::fs::read_to_string(place.local("precious")).unwrap(), "ours");

    // The name itself, and not what is below it, may be a link to a directory.
    std::fs::write(place.root("tree/file"), "theirs").unwrap();
    soon("download", place.sftp.download(place.remote("tree"), place.local("way"), how)).await.unwrap();
    assert_eq!(std::fs::read_to_string(place.local("tree/file")).unwrap(), "theirs");
    place.end().await;
}

async fn small_budget(place: Place) {
    std::fs::create_dir(place.local("tree")).unwrap();
    for number in 0..40 {
        std::fs::write(place.local("tree").join(number.to_string()), bytes(100_000)).unwrap();
    }
    let how = Transfer::new().recursive(true).files_at_once(16).in_flight(1);
    place.sftp.upload(place.local("tree"), place.remote("tree"), how.clone()).await.unwrap();
    place.sftp.download(place.remote("tree"), place.local("back"), how).await.unwrap();
    for number in 0..40 {
        assert!(std::fs::read(place.local("back").join(number.to_string())).unwrap() == bytes(100_000));
    }
    place.end().await;
}
