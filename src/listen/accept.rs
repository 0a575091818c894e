//! Accepting connections, whatever goes wrong meanwhile.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after an error that will not go away by itself, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Something that connections come from.
pub(crate) trait Listen: Send {
    type Io: Send;

    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// Accepts for ever. An error ends nothing: one of a single connection is passed over, after any other (no file
/// descriptor left, no memory) there is a pause.
pub(crate) struct Acceptor<L> {
    listener: L,
    pause: Duration,
    resume: Option<Instant>,
}

impl<L: Listen> Acceptor<L> {
    pub(crate) const fn new(listener: L) -> Self {
        Self { listener, pause: Duration::ZERO, resume: None }
    }

    /// The next connection. `failed` is called for every error.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped; a pause goes on.
    pub(crate) async fn next(&mut self, failed: impl Fn() + Send) -> L::Io {
        loop {
            if let Some(resume) = self.resume {
                tokio::time::sleep_until(resume).await;
                self.resume = None;
            }
            let accepted = self.listener.accept().await;
            if accepted.is_err() {
                failed();
            }
            match accepted {
                Ok(accepted) => {
                    self.pause = Duration::ZERO;
                    return accepted;
                }
                Err(error) if concerns_one_connection(&error) => {
                    tracing::debug!(%error, "a connection went before it was accepted");
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    self.resume = Some(Instant::now() + self.pause);
                    tracing::warn!(%error, pause = ?self.pause, "cannot accept connections");
                }
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::InvalidInput
            | ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// No file descriptor left, as Linux and the BSDs number it.
    const EMFILE: i32 = 24;

    struct Script(VecDeque<io::Result<u8>>);

    impl Listen for Script {
        type Io = u8;

        async fn accept(&mut self) -> io::Result<u8> {
            match self.0.pop_front() {
                Some(step) => step,
                None => std::future::pending().await,
            }
        }
    }

    fn script(steps: impl IntoIterator<Item = io::Result<u8>>) -> Acceptor<Script> {
        Acceptor::new(Script(steps.into_iter().collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_connection_is_passed_over_at_once() {
        let start = Instant::now();
        let mut acceptor = script([Err(ErrorKind::ConnectionAborted.into()), Ok(1)]);
        assert_eq!(acceptor.next(|| ()).await, 1);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_the_pauses_grow_up_to_a_second_and_accepting_goes_on() {
        let start = Instant::now();
        let mut errors: Vec<_> = (0..9).map(|_| Err(io::Error::from_raw_os_error(EMFILE))).collect();
        errors.push(Ok(7));
        assert_eq!(script(errors).next(|| ()).await, 7);
        let millis = [10, 20, 40, 80, 160, 320, 640, 1000, 1000];
        assert_eq!(start.elapsed(), Duration::from_millis(millis.iter().sum()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_cut_short_by_giving_up_the_wait() {
        let mut acceptor = script([Err(io::Error::from_raw_os_error(EMFILE)), Ok(1)]);
        let start = Instant::now();
        let short = Duration::from_millis(3);
        assert!(tokio::time::timeout(short, acceptor.next(|| ())).await.is_err());
        assert_eq!(acceptor.next(|| ()).await, 1);
        assert_eq!(start.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_makes_the_next_pause_short_again() {
        let full = || Err(io::Error::from_raw_os_error(EMFILE));
        let mut acceptor = script([full(), full(), full(), Ok(1), full(), Ok(2)]);
        acceptor.next(|| ()).await;
        let start = Instant::now();
        acceptor.next(|| ()).await;
        assert_eq!(start.elapsed(), FIRST_PAUSE);
    }
}
