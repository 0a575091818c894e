//! Session channels of an honest client, which a test then uses otherwise.

use crate::peer::{Gone, Peer};
use crate::wire::{Reader, data, number, open, request};

/// An open channel, by both sides' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chan {
    pub(crate) ours: u32,
    pub(crate) theirs: u32,
}

impl Peer {
    /// Opens a session channel with a window that is never exhausted.
    pub(crate) async fn open(&mut self) -> Result<Chan, Gone> {
        let opened = self.try_open("session", 1 << 30, 32 << 10).await?;
        Ok(opened.unwrap_or_else(|code| panic!("refused with code {code}")))
    }

    /// The channel, or the code of the refusal.
    pub(crate) async fn try_open(
        &mut self,
        kind: &str,
        window: u32,
        max_packet: u32,
    ) -> Result<Result<Chan, u32>, Gone> {
        let ours = self.next_channel;
        self.next_channel += 1;
        self.send(open(kind, ours, window, max_packet)).await?;
        let answer = self
            .wait_where(|payload| {
                matches!(payload[0], number::OPEN_CONFIRMATION | number::OPEN_FAILURE)
                    && payload[1..5] == ours.to_be_bytes()
            })
            .await?;
        let mut reader = Reader(&answer[5..]);
        let theirs = reader.u32();
        Ok(if answer[0] == number::OPEN_CONFIRMATION { Ok(Chan { ours, theirs }) } else { Err(theirs) })
    }

    /// Whether a request was granted.
    pub(crate) async fn verdict(&mut self, chan: Chan) -> Result<bool, Gone> {
        let answer = self
            .wait_where(|payload| {
                matches!(payload[0], number::CHANNEL_SUCCESS | number::CHANNEL_FAILURE)
                    && payload[1..5] == chan.ours.to_be_bytes()
            })
            .await?;
        Ok(answer[0] == number::CHANNEL_SUCCESS)
    }

    /// A channel on which this command runs.
    pub(crate) async fn run(&mut self, command: &str) -> Result<Chan, Gone> {
        let chan = self.open().await?;
        self.send(request(chan.theirs, "exec", true).string(command)).await?;
        assert!(self.verdict(chan).await?, "{command} was refused");
        Ok(chan)
    }

    /// Something sent to a channel that runs `echo` comes back.
    pub(crate) async fn echo(&mut self, chan: Chan) -> Result<(), Gone> {
        let word = format!("ping {}", rand::random::<u64>());
        self.send(data(chan.theirs, &word)).await?;
        let mut heard = Vec::new();
        while !heard.ends_with(word.as_bytes()) {
            let piece = self
                .wait_where(|p| {
                    matches!(p[0], number::CHANNEL_DATA | number::CHANNEL_CLOSE)
                        && p[1..5] == chan.ours.to_be_bytes()
                })
                .await?;
            assert_eq!(piece[0], number::CHANNEL_DATA, "the echo was closed");
            heard.extend_from_slice(Reader(&piece[5..]).string());
        }
        Ok(())
    }

    /// The daemon closes this channel.
    pub(crate) async fn closed(&mut self, chan: Chan) -> Result<(), Gone> {
        self.wait_where(|p| p[0] == number::CHANNEL_CLOSE && p[1..5] == chan.ours.to_be_bytes())
            .await
            .map(drop)
    }
}
