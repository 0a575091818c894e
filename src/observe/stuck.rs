//! Why something stands still, in plain sentences, from the facts of a snapshot and nothing else.

use std::time::Duration;

use super::channel::{Callback, ChannelInfo};
use super::info::{ChannelState, ConnectionInfo};
use super::words;
use crate::error::Phase;

/// What has lasted less than this is not worth a sentence: 1 s.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

fn long(since: Option<Duration>) -> Option<String> {
    since.filter(|since| *since >= STUCK_AFTER).map(words::time)
}

impl ChannelInfo {
    /// Why the channel stands still, if it does: a sentence for each thing that has been in its way for
    /// [`STUCK_AFTER`].
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        let mut why = Vec::new();
        self.open_missing(&mut why);
        self.consumer(&mut why);
        self.paused_by_others(&mut why);
        self.output(&mut why);
        self.answer_missing(&mut why);
        self.close_missing(&mut why);
        why
    }

    fn open_missing(&self, why: &mut Vec<String>) {
        if self.state == ChannelState::Opening
            && let Some(time) = long(Some(self.age))
        {
            why.push(format!("the peer has not confirmed the open for {time}"));
        }
    }

    /// Whether reading of its connection has stopped because of it.
    #[must_use]
    pub fn is_culprit(&self) -> bool {
        self.pause.is_some_and(|pause| pause.culprit == Some(self.id))
    }

    fn consumer(&self, why: &mut Vec<String>) {
        let unread = words::size(self.unread);
        let because = match self.pause.filter(|_| self.is_culprit()) {
            Some(pause) => format!(
                "; reading of the whole connection has been paused for {} because of it",
                words::time(pause.since)
            ),
            None => String::new(),
        };
        let running = self.callback.and_then(|run| Some((run.callback, long(Some(run.since))?)));
        let quiet = long(Some(self.idle));
        match (running, quiet) {
            (Some((Callback::Init, time)), _) => {
                why.push(format!("its behaviour has been in `init` for {time}"));
            }
            (Some((Callback::Terminate, time)), _) => {
                why.push(format!("its behaviour has been in `terminate` for {time}"));
            }
            (Some((callback, time)), _) if self.waiting > 0 => why.push(format!(
                "its behaviour has held one callback (`{callback}`) for {time} while {unread} wait{because}"
            )),
            (Some((callback, time)), _) => {
                why.push(format!("its behaviour has held one callback (`{callback}`) for {time}{because}"));
            }
            (None, _) if self.withheld => why.push(format!(
                "{unread} are held back from its behaviour until its own output has left{because}"
            )),
            (None, Some(time)) if self.unread > 0 && self.waiting == 0 && !self.ended => why.push(format!(
                "{unread} were handed out {time} ago or earlier, and their credit was not given back{because}"
            )),
            (None, Some(time)) if self.waiting > 0 && self.callback.is_none() && !self.ended => {
                why.push(format!("{unread} have waited for its actor for {time}{because}"));
            }
            _ if !because.is_empty() => why.push(format!("it has not consumed {unread}{because}")),
            _ => {}
        }
    }

    fn paused_by_others(&self, why: &mut Vec<String>) {
        let Some(pause) = self.pause.filter(|_| !self.is_culprit()) else { return };
        let time = words::time(pause.since);
        why.push(match pause.culprit {
            Some(culprit) => {
                format!(
                    "reading of the whole connection has been paused for {time} because of channel {culprit}"
                )
            }
            None => format!(
                "reading of the whole connection has been paused for {time}: {} are unread",
                words::size(pause.unread.used)
            ),
        });
    }

    /// Whether the next packet is more than the connection has room for.
    fn waits_for_the_stream(&self) -> bool {
        let next = usize::try_from(self.send_window.unwrap_or(0)).unwrap_or(usize::MAX).min(self.queued);
        next > 0 && self.outbound.is_some_and(|outbound| outbound.used.saturating_add(next) > outbound.limit)
    }

    fn output(&self, why: &mut Vec<String>) {
        if self.state == ChannelState::Opening {
            return;
        }
        let Some(time) = long(self.standing) else { return };
        let queued = words::size(self.queued);
        let before = if self.closed.is_some() { "closing, but what is queued goes first: " } else { "" };
        why.push(if self.queued == 0 {
            format!("{before}the transport has not taken a message for {time}")
        } else if self.send_window == Some(0) {
            format!("{before}the peer's window is empty: it has not read for {time} while {queued} wait to be sent")
        } else if self.waits_for_the_stream() {
            format!(
                "{before}the connection's byte stream takes nothing: {queued} have waited to be sent for {time}"
            )
        } else {
            format!("{before}{queued} have waited to be sent for {time}")
        });
    }

    fn answer_missing(&self, why: &mut Vec<String>) {
        let Some(awaited) = &self.awaited else { return };
        let (request, Some(time)) = (&awaited.request, long(Some(awaited.since))) else { return };
        why.push(if awaited.given_up {
            format!("the peer has not answered `{request}` for {time}; whoever asked has given up")
        } else {
            format!("it has waited for the answer to `{request}` for {time}")
        });
    }

    fn close_missing(&self, why: &mut Vec<String>) {
        if let Some(time) = long(self.closing).filter(|_| !self.gone) {
            why.push(format!("closing: the peer's CLOSE has been missing for {time}"));
        }
    }
}

impl ConnectionInfo {
    /// Why the connection stands still, if it does. What is in the way of one channel alone is told by
    /// [`ChannelInfo::why_stuck`].
    #[must_use]
    pub fn why_stuck(&self) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(pause) = self.pause {
            let (unread, limit) = (words::size(pause.unread.used), words::size(pause.unread.limit));
            let culprit = self.channels.iter().find(|channel| Some(channel.id) == pause.culprit);
            let whose = culprit.map_or_else(String::new, |channel| {
                format!("; channel {} holds {} of it", channel.id, words::size(channel.unread))
            });
            let time = words::time(pause.since);
            why.push(format!("reading has been paused for {time}: {unread} of {limit} are unread{whose}"));
        }
        if let Some(time) = long(self.rekeying) {
            why.push(format!("the key exchange has not ended for {time}"));
        }
        if let Some(silence) = self.silence {
            let time = words::time(silence.since);
            why.push(format!(
                "the peer has said nothing for {time}; keepalive questions without an answer: {}",
                silence.asked
            ));
        }
        let waiting = self.channels.iter().filter(|channel| channel.waits_for_the_stream());
        if let Some(outbound) = self.outbound
            && let Some(time) = long(waiting.filter_map(|channel| channel.standing).max())
        {
            let used = words::size(outbound.used);
            why.push(format!("the byte stream takes nothing: {used} have waited to be written for {time}"));
        }
        if let (Phase::Draining, Some(left)) = (self.phase, self.time_left) {
            let (channels, left) = (self.channels.len(), words::time(left));
            why.push(format!("draining: channels that have not ended: {channels}; time left: {left}"));
        }
        why
    }
}
