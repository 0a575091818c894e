//! The plan of a login: what is next, given what the server has answered so far. No I/O, no secrets.
//!
//! ```text
//!                    ┌────────── refused, partial, unusable ──────────┐
//!                    ▼                                                │
//!   next() ──► Probe (none) ──► answered ──► next() ──► List ──► Try ─┤
//!     │                                                               └─► accepted: done
//!     └─► Stop: exhausted, or the limit on attempts
//! ```
//!
//! The first slot, in the order of the list, that still has something to try and that the server offers is
//! next. A slot that is used up stays so, except that after a partial success people may be asked again.

use super::error::AuthStop;
use super::method::AuthMethod;

/// A server that never ends a multi-step login is given up after so many steps.
const MAX_STEPS: u32 = 16;

/// One entry of the list, as far as planning goes.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    method: AuthMethod,
    supply: Supply,
    /// Whether it was ever tried, listed or found unusable: if not, the report says so.
    touched: bool,
}

#[derive(Debug, Clone)]
enum Supply {
    /// Works once, or not at all.
    Once { used: bool },
    /// Somebody who may be asked a number of times.
    Asks { max: u32, left: u32 },
    /// Keys. `found`: they were not named one by one, so they make room for later slots.
    Keys { found: bool, listed: Option<Keys> },
}

#[derive(Debug, Clone, Copy)]
struct Keys {
    next: usize,
    count: usize,
    /// Whether the server has refused one of them.
    refused: bool,
}

impl Slot {
    pub(crate) const fn once(method: AuthMethod) -> Self {
        Self { method, supply: Supply::Once { used: false }, touched: false }
    }

    pub(crate) const fn asks(method: AuthMethod, max: u32) -> Self {
        Self { method, supply: Supply::Asks { max, left: max }, touched: false }
    }

    pub(crate) const fn named_keys() -> Self {
        let supply = Supply::Keys { found: false, listed: None };
        Self { method: AuthMethod::PublicKey, supply, touched: false }
    }

    pub(crate) const fn found_keys() -> Self {
        let supply = Supply::Keys { found: true, listed: None };
        Self { method: AuthMethod::PublicKey, supply, touched: false }
    }

    const fn has_more(&self) -> bool {
        match &self.supply {
            Supply::Once { used } => !*used,
            Supply::Asks { left, .. } => *left > 0,
            Supply::Keys { listed: None, .. } => true,
            Supply::Keys { listed: Some(keys), .. } => keys.next < keys.count,
        }
    }

    const fn is_keys(&self) -> bool {
        matches!(self.supply, Supply::Keys { .. })
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send `none` to learn what the server offers.
    Probe,
    /// Find out which keys the slot has, and tell with [`Plan::handle_listed`].
    List { slot: usize },
    /// Try it; `item` counts the keys of a slot, or the times somebody was asked, from 0.
    Try { slot: usize, item: usize },
    /// Give up.
    Stop(AuthStop),
}

/// How a [`Step::Probe`] or [`Step::Try`] ended, unless the server let us in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// SSH_MSG_USERAUTH_FAILURE with the methods that can continue.
    Refused(Vec<AuthMethod>),
    /// The same with partial success set.
    Partial(Vec<AuthMethod>),
    /// It failed on our side, before the server had anything to refuse.
    Unusable,
    /// It failed on our side in the middle of an exchange, and the server counted that as a failure.
    GaveUp(Vec<AuthMethod>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Plan {
    slots: Vec<Slot>,
    max_failures: u32,
    failures: u32,
    steps: u32,
    /// What the server offers; `None` until it has said so.
    offered: Option<Vec<AuthMethod>>,
    current: Option<usize>,
}

impl Plan {
    pub(crate) fn new(slots: Vec<Slot>, max_failures: u32) -> Self {
        Self { slots, max_failures, failures: 0, steps: 0, offered: None, current: None }
    }

    /// What the server said last about how to go on.
    pub(crate) fn wanted(&self) -> &[AuthMethod] {
        self.offered.as_deref().unwrap_or_default()
    }

    /// The next step. Takes what it hands out: each `Try` is handed out once.
    pub(crate) fn next_step(&mut self) -> Step {
        if self.failures >= self.max_failures {
            return Step::Stop(AuthStop::AttemptLimit { max: self.max_failures });
        }
        if self.steps >= MAX_STEPS {
            return Step::Stop(AuthStop::Exhausted);
        }
        self.current = None;
        let Some(slot) = (0..self.slots.len()).find(|slot| self.is_next(*slot)) else {
            return Step::Stop(AuthStop::Exhausted);
        };
        self.take(slot)
    }

    fn is_next(&self, index: usize) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        slot.has_more() && self.is_offered(slot.method) && self.has_room(index)
    }

    fn is_offered(&self, method: AuthMethod) -> bool {
        match &self.offered {
            None => true,
            // No server lists `none`, yet it is there for the asking.
            Some(_) if method == AuthMethod::None => true,
            Some(offered) => offered.contains(&method),
        }
    }

    /// Keys that were found leave one attempt to each later slot that could still be tried, but may have one
    /// refused in any case.
    fn has_room(&self, index: usize) -> bool {
        let Some(Slot { supply: Supply::Keys { found: true, listed: Some(keys) }, .. }) =
            self.slots.get(index)
        else {
            return true;
        };
        let later = self.slots.iter().skip(index + 1);
        let later = later.filter(|slot| slot.has_more() && self.is_offered(slot.method)).count();
        let needed = u32::try_from(later).unwrap_or(u32::MAX).saturating_add(1);
        !keys.refused || self.failures.saturating_add(needed) <= self.max_failures
    }

    fn take(&mut self, index: usize) -> Step {
        let unknown = self.offered.is_none();
        let Some(slot) = self.slots.get_mut(index) else { return Step::Stop(AuthStop::Exhausted) };
        if unknown && !slot.is_keys() && slot.method != AuthMethod::None {
            return Step::Probe;
        }
        slot.touched = true;
        self.current = Some(index);
        match &mut slot.supply {
            Supply::Once { used } => {
                *used = true;
                Step::Try { slot: index, item: 0 }
            }
            Supply::Asks { max, left } => {
                *left = left.saturating_sub(1);
                let asked = max.saturating_sub(*left).saturating_sub(1);
                Step::Try { slot: index, item: usize::try_from(asked).unwrap_or(usize::MAX) }
            }
            Supply::Keys { listed: None, .. } => Step::List { slot: index },
            Supply::Keys { listed: Some(keys), .. } => {
                let item = keys.next;
                keys.next += 1;
                Step::Try { slot: index, item }
            }
        }
    }

    /// Tells how many keys the slot of the last [`Step::List`] has.
    pub(crate) fn handle_listed(&mut self, slot: usize, count: usize) {
        if let Some(Slot { supply: Supply::Keys { listed, .. }, .. }) = self.slots.get_mut(slot) {
            *listed = Some(Keys { next: 0, count, refused: false });
        }
    }

    /// Tells how the last step ended.
    pub(crate) fn handle_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Refused(offered) => {
                let current = self.current.and_then(|index| self.slots.get_mut(index));
                // Like OpenSSH, `none` is not counted.
                if let Some(slot) = current.filter(|slot| slot.method != AuthMethod::None) {
                    self.failures += 1;
                    if let Supply::Keys { listed: Some(keys), .. } = &mut slot.supply {
                        keys.refused = true;
                    }
                }
                self.offered = Some(offered);
            }
            Answer::Partial(offered) => {
                self.steps += 1;
                self.offered = Some(offered);
                for slot in &mut self.slots {
                    if let Supply::Asks { max, left } = &mut slot.supply {
                        *left = *max;
                    }
                }
            }
            Answer::Unusable => self.give_up_current(),
            Answer::GaveUp(offered) => {
                self.failures += 1;
                self.offered = Some(offered);
                self.give_up_current();
            }
        }
    }

    /// Who had no answer once is not asked again.
    fn give_up_current(&mut self) {
        let current = self.current.and_then(|index| self.slots.get_mut(index));
        if let Some(Slot { supply: Supply::Asks { left, .. }, .. }) = current {
            *left = 0;
        }
    }

    /// Slots that were never tried, with their methods; and for tried ones how many keys are left.
    pub(crate) fn left_over(&self) -> Vec<(AuthMethod, LeftOver)> {
        let left_over = |slot: &Slot| match &slot.supply {
            _ if !slot.touched && !self.is_offered(slot.method) => Some(LeftOver::NotOffered),
            _ if !slot.touched => Some(LeftOver::NotReached),
            Supply::Keys { listed: Some(keys), .. } if keys.next < keys.count => {
                Some(LeftOver::Keys(keys.count - keys.next))
            }
            _ => None,
        };
        self.slots.iter().filter_map(|slot| Some((slot.method, left_over(slot)?))).collect()
    }
}

/// What became of a slot that has something left at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOver {
    /// The server does not offer its method.
    NotOffered,
    /// The login ended before its turn.
    NotReached,
    /// So many of its keys were not offered.
    Keys(usize),
}

#[cfg(test)]
mod tests;
