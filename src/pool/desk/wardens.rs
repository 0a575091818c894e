//! What wardens ask the desk, and tell it of their connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Desk, Orders, Question};
use crate::error::OpenError;
use crate::handle::ConnectionRef;
use crate::managed::ManagedRef;
use crate::pool::info::Duty;
use crate::pool::queue::Want;

impl Desk {
    /// The connection has its keeper. False when nobody wants it any more.
    pub(in crate::pool) fn install(&self, number: u64, managed: &ManagedRef) -> bool {
        let mut inner = self.lock();
        let Some(pooled) = inner.connections.get_mut(&number) else { return false };
        pooled.managed = Some(managed.clone());
        true
    }

    /// Where the connection is now.
    pub(in crate::pool) fn observe(self: &Arc<Self>, number: u64, current: Option<ConnectionRef>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(pooled) = inner.connections.get_mut(&number) else { return };
        let before = match (&pooled.live, &current) {
            (Some(live), Some(current)) if live.is_same(current) => None,
            (None, None) => None,
            (_, None) => {
                inner.accounts.down(number);
                pooled.live.take()
            }
            (_, Some(_)) => {
                inner.accounts.up(number, Instant::now());
                std::mem::replace(&mut pooled.live, current)
            }
        };
        drop(guard);
        drop(before);
        self.serve();
    }

    /// What is to be done about the connection. One question at a time is under way.
    pub(in crate::pool) fn orders(&self, number: u64, may_ask: bool) -> Orders {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let idle_at = inner.idle_at(number, self.common.config.idle);
        let waits = inner.queue.first() == Some(Want::Session);
        let try_at = inner.accounts.try_at(number).filter(|_| waits);
        let Some(pooled) = inner.connections.get_mut(&number) else { return Orders::Vanish };
        pooled.due = try_at;
        if pooled.duty != Duty::Serving {
            return Orders::Leave { grace: pooled.grace };
        }
        let Some(account) = inner.accounts.get(number) else { return Orders::Vanish };
        let ask = match &pooled.live {
            Some(live)
                if may_ask && account.live && account.settling > 0 && std::mem::take(&mut pooled.ask) =>
            {
                Some(Question {
                    connection: live.clone(),
                    generation: account.generation,
                    places: account.settling,
                })
            }
            _ => None,
        };
        Orders::Stay { idle_at, try_at, ask }
    }

    /// The connection has been idle for long enough, unless somebody has come in between.
    pub(in crate::pool) fn idle(&self, number: u64) {
        let mut inner = self.lock();
        let at = inner.idle_at(number, self.common.config.idle);
        if at.is_some_and(|at| at <= Instant::now()) {
            inner.leave(number, Duty::Idle, Duration::ZERO);
        }
    }

    /// Somebody may have a place by now.
    pub(in crate::pool) fn look_again(self: &Arc<Self>) {
        self.serve();
    }

    /// The server has noticed so many ends of channels.
    pub(in crate::pool) fn settled(self: &Arc<Self>, number: u64, generation: u64, places: usize) {
        self.lock().accounts.settled(number, generation, places);
        self.serve();
    }

    /// Nothing is left of the connection. With an error, it could not be made, and there will be none.
    pub(in crate::pool) fn gone(self: &Arc<Self>, number: u64, error: Option<OpenError>) {
        let mut inner = self.lock();
        let pooled = inner.connections.remove(&number);
        let mut told = Vec::new();
        match (&pooled, &error) {
            (Some(pooled), Some(_)) if pooled.duty == Duty::Serving => {
                inner.counters.failed += 1;
                if !inner.accounts.failed(number, Instant::now()) {
                    told = inner.queue.take_all();
                }
            }
            _ => inner.accounts.close(number),
        }
        drop(inner);
        drop(pooled);
        if let Some(error) = error {
            for waiter in told {
                let _ = waiter.give.send(Err(error.clone()));
            }
        }
        self.serve();
    }
}
