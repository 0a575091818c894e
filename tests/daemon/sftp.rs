//! The subsystem `sftp`: OpenSSH's programs, and a client that sends what it likes.

use libtest_mimic::Trial;

mod big;
mod limits;
mod malformed;
mod openssh;
mod raw;
mod walls;

pub(crate) fn trials() -> Vec<Trial> {
    [openssh::trials(), walls::trials(), limits::trials(), malformed::trials(), big::trials()]
        .into_iter()
        .flatten()
        .collect()
}
