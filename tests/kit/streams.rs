//! Both ends of a byte stream.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Sends back all it gets when that has ended: only an eof that is passed on makes it speak.
pub(crate) async fn after_eof(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).await.is_ok() && stream.write_all(&all).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// Says something and ends its direction, while it reads to the end: what comes back is the same.
///
/// # Panics
/// If it is not, or the stream fails.
pub(crate) async fn exchange(stream: impl AsyncRead + AsyncWrite, what: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut all = Vec::new();
    let (sent, got) = tokio::join!(
        async {
            write.write_all(what).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut all)
    );
    sent.unwrap();
    got.unwrap();
    assert!(all == what, "{} bytes of {}", all.len(), what.len());
}
