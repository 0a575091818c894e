//! A client's door: opens are counted, looked up, and taken in or refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::config::Rate;
use crate::handle::acceptance::{Acceptance, Found, Maker};
use crate::handle::intake::Intake;
use crate::handle::msg::ConnectionMsg;
use crate::transport::door::{Admission, Door, Meter, NewChannel, Slot, Slots, Verdict};
use crate::wire::codes::OpenFailureReason;
use crate::wire::open::{ListenRequest, OpenRequest};

const PROHIBITED: OpenFailureReason = OpenFailureReason::AdministrativelyProhibited;

/// Opens of a server, per second and at once. Ten times as many end the connection.
const OPENS: Rate = Rate::new(2000, 4000);

/// The channels that the server of one connection opens.
pub(crate) struct ClientDoor {
    intake: Intake,
    slots: Slots,
    acceptance: Arc<Acceptance>,
    /// How long an open waits for the answer that says whether it was asked for.
    patience: Duration,
    opens: Meter,
    /// The connection was told to end.
    expelled: bool,
}

impl ClientDoor {
    /// `slots` are the connection's: what we open ourselves takes places, too.
    pub(crate) fn new(intake: Intake, slots: Slots, acceptance: Arc<Acceptance>, patience: Duration) -> Self {
        Self { intake, slots, acceptance, patience, opens: Meter::new(OPENS), expelled: false }
    }

    /// Whether one more open is looked at.
    fn one_more(&mut self) -> bool {
        let verdict = self.opens.one_more();
        if verdict == Verdict::Flood && !std::mem::replace(&mut self.expelled, true) {
            let _ = self.intake.actor.cast(ConnectionMsg::Expel("too many channel opens per second"));
        }
        verdict == Verdict::Fine
    }

    fn consider(&self, request: OpenRequest, slot: Slot) -> Admission {
        if !self.intake.is_up() {
            return Admission::Refused(PROHIBITED);
        }
        match self.acceptance.find(&request) {
            Found::Asked(make) => {
                take_in(&self.intake, &make, request, slot).map_or_else(Admission::Refused, Admission::Now)
            }
            Found::Nothing => Admission::Refused(PROHIBITED),
            Found::Wait(mut settled) => {
                let (acceptance, intake) = (Arc::clone(&self.acceptance), self.intake.clone());
                let patience = self.patience;
                let decision = async move {
                    let found = async {
                        loop {
                            let _ = settled.changed().await;
                            match acceptance.find(&request) {
                                Found::Asked(make) => return Some(make),
                                Found::Wait(again) => settled = again,
                                Found::Nothing => return None,
                            }
                        }
                    };
                    let found = tokio::time::timeout(patience, found).await.ok().flatten();
                    let taken = match found {
                        Some(make) if intake.is_up() => take_in(&intake, &make, request, slot),
                        _ => Err(PROHIBITED),
                    };
                    taken.inspect_err(|reason| refuse(&intake, *reason))
                };
                Admission::Later(decision.boxed())
            }
        }
    }
}

fn take_in(
    intake: &Intake,
    make: &Maker,
    request: OpenRequest,
    slot: Slot,
) -> Result<NewChannel, OpenFailureReason> {
    let kind = request.channel_type();
    let port = intake.port();
    port.notes().opened_for(&request);
    let made = catch_unwind(AssertUnwindSafe(|| make(request))).unwrap_or_else(|_| {
        tracing::error!(kind, "the function that makes a channel's behaviour panicked");
        None
    });
    let start = made.ok_or(PROHIBITED)?;
    intake.accept(kind, &port, start, slot)?;
    Ok(NewChannel { port, guest: None })
}

fn refuse(intake: &Intake, reason: OpenFailureReason) {
    tracing::debug!(%reason, "refused a channel that the server opened");
    intake.gauges.refuse_open();
}

impl Door for ClientDoor {
    fn open(&mut self, request: OpenRequest) -> Admission {
        let slot = if self.one_more() { self.slots.take() } else { None };
        let admission = match slot {
            Some(slot) => self.consider(request, slot),
            None => Admission::Refused(OpenFailureReason::ResourceShortage),
        };
        if let Admission::Refused(reason) = admission {
            refuse(&self.intake, reason);
        }
        admission
    }

    fn turn_away(&mut self) {
        self.one_more();
        refuse(&self.intake, PROHIBITED);
    }

    /// russh answers the requests of a server by itself.
    fn may_ask(&mut self) -> bool {
        true
    }

    /// A server cannot ask for that.
    fn listen(&mut self, _request: ListenRequest) -> BoxFuture<'static, Option<u16>> {
        futures::future::ready(None).boxed()
    }

    fn unlisten(&mut self, _request: ListenRequest) -> bool {
        false
    }
}
