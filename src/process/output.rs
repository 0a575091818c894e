//! What the process writes, on its way to the peer.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::terminal::end_if_hung_up;
use crate::error::SendErrorKind;
use crate::wire::codes::DataType;
use crate::{ChannelHandle, ServerSide};

/// One read: a packet's worth.
const PIECE: usize = 32 << 10;
/// What a pipe or terminal may hold when nobody is waited for any more: as much as any process without privileges can
/// make it.
const MOST_LEFT: usize = 1 << 20;

/// One of the process's outputs.
pub(super) struct Output<S> {
    pub(super) source: S,
    pub(super) data_type: DataType,
    pub(super) to: ChannelHandle<ServerSide>,
    /// True when the process has ended. What it has written is still there then; others may write more.
    pub(super) ended: watch::Receiver<bool>,
    /// For how long those others are waited for in total. Time in which the peer does not read is not waiting.
    pub(super) linger: Duration,
}

impl<S: AsyncRead + AsFd + Unpin> Output<S> {
    /// Sends all of it. Reads only while there is room in the channel. Ends early if the channel does.
    pub(super) async fn pump(mut self) {
        let mut buffer = vec![0; PIECE];
        let mut patience = None;
        loop {
            let began = Instant::now();
            let read = match patience {
                None => tokio::select! {
                    biased;
                    _ = self.ended.wait_for(|ended| *ended) => {
                        patience = Some(self.linger);
                        continue;
                    }
                    read = self.source.read(&mut buffer) => read,
                },
                Some(left) => match tokio::time::timeout(left, self.source.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_) => return self.rest(&mut buffer).await,
                },
            };
            if let Some(left) = &mut patience {
                *left = left.saturating_sub(began.elapsed());
            }
            match read {
                Ok(len) if len > 0 && self.send(&buffer, len).await => {}
                _ => return,
            }
        }
    }

    /// Sends what is there already. Asks the system itself: the runtime may not have heard of it yet.
    async fn rest(self, buffer: &mut [u8]) {
        let mut left = MOST_LEFT;
        loop {
            let read = rustix::io::read(self.source.as_fd(), &mut *buffer).map_err(io::Error::from);
            match end_if_hung_up(read) {
                Ok(len) if len > 0 && left > 0 && self.send(buffer, len).await => {
                    left = left.saturating_sub(len);
                }
                _ => return,
            }
        }
    }

    /// However long the peer takes. False when the channel is over.
    async fn send(&self, buffer: &[u8], len: usize) -> bool {
        let mut data = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
        loop {
            match self.to.send_typed(self.data_type, data).await {
                Ok(()) => return true,
                Err(error) if matches!(error.kind, SendErrorKind::Timeout { .. }) => data = error.data,
                Err(_) => return false,
            }
        }
    }
}
