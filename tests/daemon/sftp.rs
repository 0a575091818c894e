//! The subsystem `sftp`: OpenSSH's programs, and a client that sends what it likes.

use libtest_mimic::Trial;

mod big;
mod counters;
mod killed;
mod limits;
mod malformed;
mod openssh;
mod raw;
mod walls;

pub(crate) fn trials() -> Vec<Trial> {
    [
        openssh::trials(),
        walls::trials(),
        limits::trials(),
        counters::trials(),
        malformed::trials(),
        killed::trials(),
        big::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
