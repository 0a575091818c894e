//! What the peer sends, on its way into the process.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

use super::terminal::Keyboard;
use crate::Credit;

/// Input, with the receive credit it holds until the process has taken it. So the queue it waits in needs no bound of
/// its own.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) data: Bytes,
    pub(super) credit: Option<Credit>,
}

pub(super) type Input = mpsc::UnboundedReceiver<Chunk>;

/// Writes until the peer's eof, or until the process reads no more; then the pipe is closed, and what still comes is
/// dropped, its credit given back.
pub(super) async fn into_pipe(mut pipe: ChildStdin, mut input: Input) {
    while let Some(Chunk { data, credit }) = input.recv().await {
        if pipe.write_all(&data).await.is_err() {
            return;
        }
        drop(credit);
    }
}

/// Types until the peer's eof, and then the end of the input.
pub(super) async fn into_terminal(mut keyboard: Keyboard, mut input: Input) {
    let mut in_line = false;
    while let Some(Chunk { data, credit }) = input.recv().await {
        if keyboard.type_in(&data).await.is_err() {
            return;
        }
        in_line = data.last().map_or(in_line, |last| !matches!(last, b'\n' | b'\r'));
        drop(credit);
    }
    if let Err(error) = keyboard.end_of_input(in_line).await {
        tracing::debug!(%error, "the end of the input was not typed");
    }
}
