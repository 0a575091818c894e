//! What the library says while the tests run: why it ended a connection, and that it never says too much.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

/// No line of a log may be longer, whatever a peer sends.
const LONGEST: usize = 2048;

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    /// One event is one write.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what the library says from now on.
pub(crate) fn collect() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("ractor_ssh=info,ractor_ssh::server=debug"))
        .with_ansi(false)
        .with_writer(|| Writer)
        .init();
}

/// Waits for a line that has both in it.
pub(crate) async fn line(about: &str, what: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if lines().iter().any(|line| line.contains(about) && line.contains(what)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let about: Vec<String> = lines().into_iter().filter(|line| line.contains(about)).collect();
    panic!("nobody said {what:?}: {about:#?}");
}

fn lines() -> Vec<String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The lines that are longer than any should be, cut.
pub(crate) fn too_long() -> Vec<String> {
    let long = lines().into_iter().filter(|line| line.len() > LONGEST);
    long.map(|line| format!("{} bytes: {}", line.len(), line.chars().take(200).collect::<String>())).collect()
}
