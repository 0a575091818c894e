//! A GiB both ways.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::sftp::Transfer;

use crate::kit::{Peer, peer_test_within};
use crate::support::{Place, bytes};

const SIZE: usize = 1 << 30;
/// Of a length that no request has: what is at the wrong place shows.
const BLOCK: usize = (1 << 20) + 7;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshServer, Peer::OpenSshSftp];
    let name = "openssh::a_gib_goes_both_ways_byte_for_byte";
    vec![peer_test_within(Duration::from_secs(600), name, needs, gib).with_ignored_flag(true)]
}

fn check(path: &Path, block: &[u8]) {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).unwrap();
    let (mut left, mut buffer) = (SIZE, vec![0; BLOCK]);
    while left > 0 {
        let len = left.min(BLOCK);
        file.read_exact(&mut buffer[..len]).unwrap();
        assert!(buffer[..len] == block[..len], "{} differs near its byte {}", path.display(), SIZE - left);
        left -= len;
    }
    assert_eq!(file.read(&mut buffer).unwrap(), 0);
}

async fn gib() {
    use std::io::Write as _;
    let place = Place::openssh().await;
    let block = bytes(BLOCK);
    let mut file = std::fs::File::create(place.local("up")).unwrap();
    let mut left = SIZE;
    while left > 0 {
        let len = left.min(BLOCK);
        file.write_all(&block[..len]).unwrap();
        left -= len;
    }
    drop(file);
    place.sftp.upload(place.local("up"), place.remote("there"), Transfer::new()).await.unwrap();
    check(&place.root("there"), &block);
    std::fs::remove_file(place.local("up")).unwrap();
    place.sftp.download(place.remote("there"), place.local("down"), Transfer::new()).await.unwrap();
    check(&place.local("down"), &block);
    place.end().await;
}
