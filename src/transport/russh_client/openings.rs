//! The opens of ours that are under way, and which refusal is whose.
//!
//! russh tells the opener of a refused channel the reason alone, and never the channel's number
//! (`client::Handle::channel_open_*`, `ChannelMsg::OpenFailure`); the text goes to the handler, with the number. Neither is
//! the number known beforehand: russh's session gives it out when it takes the open from its queue. But the session
//! answers the opener *right before* it calls the handler, in one task: so when the handler is called, exactly one open
//! more than at its last call has failed, and that one the text is for. The openers' futures live here, behind one lock,
//! so that the handler can look which one it is.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use russh::client::Msg;
use tokio::task::coop::{Unconstrained, unconstrained};

type Opened = Result<russh::Channel<Msg>, russh::Error>;

/// Why an open led to no channel.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The peer refused it, with this text.
    Refused(russh::ChannelOpenFailure, String),
    /// The session has ended.
    Lost,
}

/// All opens under way.
#[derive(Default)]
pub(super) struct Openings {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    underway: BTreeMap<u64, Opening>,
    last: u64,
    /// The open that has failed, and whose text is not here yet.
    failed: Option<u64>,
    /// No text comes any more.
    over: bool,
}

/// One open.
struct Opening {
    /// Without a budget of turns: what is there is seen when it is looked for. None when it is over.
    future: Option<Unconstrained<BoxFuture<'static, Opened>>>,
    /// What russh did with it.
    answer: Option<Opened>,
    text: Option<String>,
    nudge: Arc<Nudge>,
}

/// What russh wakes when it answers.
#[derive(Default)]
struct Nudge {
    woken: AtomicBool,
    /// The task that waits for the channel.
    opener: AtomicWaker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.opener.wake();
    }
}

impl Opening {
    /// Looks for russh's answer. True when it has just been seen to be a refusal.
    fn look(&mut self) -> bool {
        // It may be over, and taken: an opener has it before its entry is gone.
        let Some(future) = &mut self.future else { return false };
        self.nudge.woken.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.nudge));
        let Poll::Ready(answer) = Pin::new(future).poll(&mut Context::from_waker(&waker)) else {
            return false;
        };
        self.future = None;
        let refused = matches!(answer, Err(russh::Error::ChannelOpenFailure(_)));
        self.answer = Some(answer);
        refused
    }
}

impl Openings {
    /// Opens a channel. Returns when the peer has answered.
    ///
    /// # Cancel safety
    /// What was sent stays sent: the peer answers a dropped open, too, and its refusal is taken for nobody else's.
    pub(super) async fn open(
        &self,
        open: BoxFuture<'static, Opened>,
    ) -> Result<russh::Channel<Msg>, NotOpened> {
        let entered = self.enter(open);
        std::future::poll_fn(|cx| self.poll(entered.number, cx)).await
    }

    fn enter(&self, open: BoxFuture<'static, Opened>) -> Entered<'_> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let opening =
            Opening { future: Some(unconstrained(open)), answer: None, text: None, nudge: Arc::default() };
        state.underway.insert(number, opening);
        Entered { openings: self, number }
    }

    fn poll(&self, number: u64, cx: &Context<'_>) -> Poll<Result<russh::Channel<Msg>, NotOpened>> {
        let mut state = self.lock();
        let State { underway, failed, over, .. } = &mut *state;
        let Some(opening) = underway.get_mut(&number) else { return Poll::Ready(Err(NotOpened::Lost)) };
        opening.nudge.opener.register(cx.waker());
        if opening.look() {
            *failed = Some(number);
        }
        // Its text follows at once.
        let is_refused = matches!(opening.answer, Some(Err(russh::Error::ChannelOpenFailure(_))));
        if is_refused && opening.text.is_none() && !*over {
            return Poll::Pending;
        }
        let text = opening.text.take().unwrap_or_default();
        match opening.answer.take() {
            None => Poll::Pending,
            Some(Ok(channel)) => Poll::Ready(Ok(channel)),
            Some(Err(russh::Error::ChannelOpenFailure(reason))) => {
                Poll::Ready(Err(NotOpened::Refused(reason, text)))
            }
            Some(Err(_)) => Poll::Ready(Err(NotOpened::Lost)),
        }
    }

    /// russh's callback: an open has just been refused, with this text.
    pub(super) fn refused(&self, text: &str) {
        let mut state = self.lock();
        let State { underway, failed, .. } = &mut *state;
        for (number, opening) in underway.iter_mut() {
            if failed.is_some() {
                break;
            }
            if opening.nudge.woken.load(Ordering::Acquire) && opening.look() {
                *failed = Some(*number);
            }
        }
        // There is none when its opener has gone.
        if let Some(opening) = failed.take().and_then(|number| underway.get_mut(&number)) {
            opening.text = Some(text.to_owned());
            opening.nudge.opener.wake();
        }
    }

    /// The session has ended: there are no more texts.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        state.underway.values().for_each(|opening| opening.nudge.opener.wake());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open that is listed as long as this exists.
struct Entered<'a> {
    openings: &'a Openings,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut state = self.openings.lock();
        let opening = state.underway.remove(&self.number);
        if state.failed == Some(self.number) {
            state.failed = None;
        }
        // What a future drops may wake others: not within the lock.
        drop(state);
        drop(opening);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    /// What russh does with an open, and the open.
    fn asked() -> (oneshot::Sender<()>, BoxFuture<'static, Opened>) {
        let (refuse, refused) = oneshot::channel();
        let answer = async move {
            match refused.await {
                Ok(()) => Err(russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed)),
                Err(_) => Err(russh::Error::Disconnect),
            }
        };
        (refuse, answer.boxed())
    }

    fn text(opened: Result<russh::Channel<Msg>, NotOpened>) -> Option<String> {
        match opened {
            Err(NotOpened::Refused(_, text)) => Some(text),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_text_goes_to_the_open_that_was_answered_right_before_it() {
        let openings = Openings::default();
        let (refuse, opens): (Vec<_>, Vec<_>) = (0..3).map(|_| asked()).unzip();
        let mut opens: Vec<_> = opens.into_iter().map(|open| Box::pin(openings.open(open))).collect();
        for open in &mut opens {
            assert!(open.now_or_never().is_none());
        }
        // The last first; its opener does not look in between. The first one's does, and waits for its text.
        let mut refuse: Vec<_> = refuse.into_iter().map(Some).collect();
        for (number, looks) in [(2, false), (0, true), (1, false)] {
            refuse[number].take().unwrap().send(()).unwrap();
            if looks {
                assert!(opens[number].as_mut().now_or_never().is_none());
            }
            openings.refused(&format!("number {number}"));
        }
        for (number, open) in opens.into_iter().enumerate() {
            assert_eq!(text(open.now_or_never().unwrap()), Some(format!("number {number}")));
        }
    }

    #[tokio::test]
    async fn the_text_of_an_open_that_nobody_waits_for_is_nobody_elses() {
        for looks in [false, true] {
            let openings = Openings::default();
            let ((refuse_gone, gone), (refuse, open)) = (asked(), asked());
            let (mut gone, mut open) = (Box::pin(openings.open(gone)), Box::pin(openings.open(open)));
            assert!(gone.as_mut().now_or_never().is_none() && open.as_mut().now_or_never().is_none());
            refuse_gone.send(()).unwrap();
            if looks {
                assert!(gone.as_mut().now_or_never().is_none());
            }
            drop(gone);
            openings.refused("of the one that has gone");
            assert!(open.as_mut().now_or_never().is_none());
            refuse.send(()).unwrap();
            openings.refused("of the other");
            assert_eq!(text(open.await).as_deref(), Some("of the other"));
            assert!(openings.lock().underway.is_empty());
        }
    }

    /// An opener that has its answer goes on in a task of its own, and russh's may be here before its entry is gone.
    #[tokio::test]
    async fn an_open_that_is_over_is_not_looked_at_again() {
        let openings = Openings::default();
        let ((refuse_first, first), (refuse, open)) = (asked(), asked());
        let first = openings.enter(first);
        let mut open = Box::pin(openings.open(open));
        let cx = Context::from_waker(Waker::noop());
        assert!(openings.poll(first.number, &cx).is_pending() && open.as_mut().now_or_never().is_none());
        refuse_first.send(()).unwrap();
        openings.refused("of the first");
        let Poll::Ready(answer) = openings.poll(first.number, &cx) else { panic!("it is answered") };
        assert_eq!(text(answer).as_deref(), Some("of the first"));
        // Woken, answered, and listed still.
        let nudge = openings.lock().underway.get(&first.number).map(|opening| Arc::clone(&opening.nudge));
        nudge.unwrap().wake();
        refuse.send(()).unwrap();
        openings.refused("of the other");
        assert_eq!(text(open.await).as_deref(), Some("of the other"));
        drop(first);
        assert!(openings.lock().underway.is_empty());
    }

    #[tokio::test]
    async fn a_text_that_never_comes_is_waited_for_until_the_session_ends() {
        let openings = Arc::new(Openings::default());
        let (refuse, open) = asked();
        let opener = tokio::spawn({
            let openings = Arc::clone(&openings);
            async move { text(openings.open(open).await) }
        });
        refuse.send(()).unwrap();
        while openings.lock().failed.is_none() {
            tokio::task::yield_now().await;
        }
        assert!(!opener.is_finished());
        openings.end();
        let waited = tokio::time::timeout(Duration::from_secs(10), opener).await;
        assert_eq!(waited.unwrap().unwrap().as_deref(), Some(""));
    }
}
