//! The accounts of one host: which connection has how many channels, how many its server takes, and what follows from
//! that.
//!
//! Plain values. Reads no clock, starts nothing, knows nothing of connections but their numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::config::PoolConfig;
use super::info::Eviction;

/// After so long one more channel is tried than a server has taken, at first and at most. Answers are not heard of in the
/// order in which they came, so that the first guess may be too low.
const FIRST_TRY: Duration = Duration::from_secs(5);
const LAST_TRY: Duration = Duration::from_secs(60);
/// How long to wait before it is tried again whether processes have ended, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// After so many refusals of a connection that has nothing but processes nobody waits for, it is replaced.
const MOST_ALONE: u32 = 9;
/// For so long no further connection is made after one that cannot be made, while another is up.
const NO_MORE: Duration = Duration::from_secs(30);

/// A channel's place on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The number of the connection.
    pub(super) number: u64,
    /// Which of those that followed each other under that number.
    pub(super) generation: u64,
    /// A `session` channel, of which servers count how many there are.
    pub(super) session: bool,
    /// There is room only if a process has ended that nobody waits for.
    trial: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) generation: u64,
    /// Channels can be opened.
    pub(super) live: bool,
    /// It is used; otherwise it is being drained.
    pub(super) serving: bool,
    /// Places that are taken.
    pub(super) used: usize,
    /// Those whose channel the server has confirmed.
    confirmed: usize,
    /// Those whose channel is over here; the server may not have noticed.
    pub(super) settling: usize,
    /// Channels that we have closed, whose processes the server may still count. Only a try can tell.
    pub(super) lingering: usize,
    /// Those whose open the server has not answered in time, and may never answer.
    overdue: usize,
    /// One more channel than there is room for is being tried, to find out.
    trying: bool,
    /// When that may be tried again, and after which pause once more.
    try_at: Instant,
    try_pause: Duration,
    /// How often it was refused in a row while the connection had no channel at all.
    refused_alone: u32,
    /// Channels that are no sessions.
    pub(super) others: usize,
    /// Channels in a row that were not opened.
    failures: u32,
    /// It has had a channel.
    proven: bool,
    pub(super) stalls: u32,
    pub(super) unused_since: Instant,
}

impl Account {
    const fn new(now: Instant) -> Self {
        Self {
            generation: 0,
            live: false,
            serving: true,
            used: 0,
            confirmed: 0,
            settling: 0,
            lingering: 0,
            overdue: 0,
            trying: false,
            try_at: now,
            try_pause: FIRST_PAUSE,
            refused_alone: 0,
            others: 0,
            failures: 0,
            proven: false,
            stalls: 0,
            unused_since: now,
        }
    }

    const fn may_try(&self) -> bool {
        self.live && self.serving && self.lingering > 0 && !self.trying
    }

    pub(super) const fn is_unused(&self) -> bool {
        self.used == self.settling && self.others == 0
    }
}

/// What a channel that is over here leaves at its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// There was no channel.
    Nothing,
    /// The server has closed it, and forgets it when it has seen our answer.
    Notice,
    /// We have closed it. OpenSSH counts the session until its process has ended, and does not tell when.
    Process,
}

/// What becomes of a channel that was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits for another place.
    Again,
    /// It waits for another place, and the connection is not to be used any more.
    Leave,
    /// Its caller is told.
    Tell,
    /// Its caller is told, and the connection is not to be used any more.
    Evict,
}

/// How many sessions a server takes.
#[derive(Debug, Clone, Copy)]
struct Learned {
    limit: usize,
    /// When that was found out.
    at: Instant,
    /// After which time one more is tried.
    pause: Duration,
}

impl Learned {
    fn is_doubtful(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= self.pause
    }
}

#[derive(Debug)]
pub(super) struct Accounts {
    assumed: usize,
    max_connections: usize,
    max_failed_opens: u32,
    max_stalls: u32,
    learned: Option<Learned>,
    connections: BTreeMap<u64, Account>,
    next: u64,
    no_more_until: Option<Instant>,
}

impl Accounts {
    pub(super) const fn new(config: &PoolConfig) -> Self {
        Self {
            assumed: config.sessions,
            max_connections: config.max_connections,
            max_failed_opens: config.max_failed_opens,
            max_stalls: config.max_stalls,
            learned: None,
            connections: BTreeMap::new(),
            next: 1,
            no_more_until: None,
        }
    }

    // ---- connections ----------------------------------------------------------------------------

    /// One more connection is to be made.
    pub(super) fn open(&mut self, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.connections.insert(number, Account::new(now));
        number
    }

    /// Channels can be opened on it. What is left of those before is no business of this one.
    pub(super) fn up(&mut self, number: u64, now: Instant) {
        if let Some(account) = self.connections.get_mut(&number) {
            let generation = account.generation + 1;
            let (serving, unused_since) = (account.serving, account.unused_since.max(now));
            *account = Account { generation, live: true, serving, ..Account::new(unused_since) };
        }
    }

    pub(super) fn down(&mut self, number: u64) {
        if let Some(account) = self.connections.get_mut(&number) {
            account.live = false;
        }
    }

    /// Who had a place on it says that it has ended. That may be old news.
    pub(super) fn lost(&mut self, ticket: Ticket) {
        if let Some(account) = self.of(ticket) {
            account.live = false;
        }
    }

    /// It is not used any more. False when that is so already.
    pub(super) fn retire(&mut self, number: u64) -> bool {
        self.connections
            .get_mut(&number)
            .is_some_and(|account| std::mem::replace(&mut account.serving, false))
    }

    /// Nothing is left of it.
    pub(super) fn close(&mut self, number: u64) {
        self.connections.remove(&number);
        if self.connections.is_empty() {
            // Whoever is there next time may have another limit.
            self.learned = None;
        }
    }

    /// It could not be made. False when there is no other that callers could wait for.
    pub(super) fn failed(&mut self, number: u64, now: Instant) -> bool {
        self.close(number);
        let others = self.connections.values().any(|account| account.serving && account.live);
        self.no_more_until = others.then(|| now + NO_MORE);
        others
    }

    pub(super) fn get(&self, number: u64) -> Option<&Account> {
        self.connections.get(&number)
    }

    pub(super) fn serving(&self) -> usize {
        self.connections.values().filter(|account| account.serving).count()
    }

    /// Whether another connection is to be made for so many that wait.
    pub(super) fn wants_more(&self, waiting: usize, now: Instant) -> bool {
        if waiting == 0 || self.serving() >= self.max_connections {
            return false;
        }
        if self.no_more_until.is_some_and(|until| now < until) && self.serving() > 0 {
            return false;
        }
        let serving = || self.connections.values().filter(|account| account.serving);
        let coming = serving().filter(|account| !account.live).count().saturating_mul(self.limit(now));
        let soon_free: usize = serving().map(|account| account.settling + usize::from(account.trying)).sum();
        waiting > coming.saturating_add(soon_free)
    }

    // ---- places ---------------------------------------------------------------------------------

    /// How many sessions a connection gets at present.
    pub(super) fn limit(&self, now: Instant) -> usize {
        match self.learned {
            Some(learned) if learned.is_doubtful(now) => learned.limit.saturating_add(1).min(self.assumed),
            Some(learned) => learned.limit,
            None => self.assumed,
        }
    }

    pub(super) fn learned(&self) -> Option<usize> {
        self.learned.map(|learned| learned.limit)
    }

    /// Takes a place on the oldest connection that has one, so that those made for a peak become idle.
    pub(super) fn take(&mut self, session: bool, now: Instant) -> Option<Ticket> {
        let limit = self.limit(now);
        let free = |account: &Account| {
            account.live && account.serving && (!session || account.used + account.lingering < limit)
        };
        let (number, account) = self.connections.iter_mut().find(|(_, account)| free(account))?;
        *(if session { &mut account.used } else { &mut account.others }) += 1;
        Some(Ticket { number: *number, generation: account.generation, session, trial: false })
    }

    /// Takes a place that is free if a process has ended that nobody waits for.
    pub(super) fn attempt(&mut self, now: Instant) -> Option<Ticket> {
        let may = |account: &Account| account.may_try() && account.try_at <= now;
        let (number, account) = self.connections.iter_mut().find(|(_, account)| may(account))?;
        account.trying = true;
        account.used += 1;
        Some(Ticket { number: *number, generation: account.generation, session: true, trial: true })
    }

    /// When such a place may be tried on this connection.
    pub(super) fn try_at(&self, number: u64) -> Option<Instant> {
        self.connections.get(&number).filter(|account| account.may_try()).map(|account| account.try_at)
    }

    /// Connections on which places are free as soon as their servers have noticed.
    pub(super) fn settling(&self) -> impl Iterator<Item = u64> {
        let settling = |account: &Account| account.live && account.serving && account.settling > 0;
        self.connections.iter().filter(move |(_, account)| settling(account)).map(|(number, _)| *number)
    }

    fn of(&mut self, ticket: Ticket) -> Option<&mut Account> {
        let account = self.connections.get_mut(&ticket.number)?;
        (account.generation == ticket.generation).then_some(account)
    }

    /// The server has confirmed the channel.
    pub(super) fn confirmed(&mut self, ticket: Ticket, now: Instant) {
        let limit = self.limit(now);
        let Some(account) = self.of(ticket) else { return };
        account.failures = 0;
        account.proven = true;
        if ticket.session {
            account.confirmed += 1;
            account.trying &= !ticket.trial;
            account.refused_alone = 0;
            account.try_at = now;
            account.try_pause = FIRST_PAUSE;
            // There is room for it: so many processes at least have ended.
            let ended = (account.used + account.lingering).saturating_sub(limit);
            account.lingering = account.lingering.saturating_sub(ended);
            let confirmed = account.confirmed;
            if self.learned.is_some_and(|learned| confirmed > learned.limit) {
                self.learned = Some(Learned { limit: confirmed, at: now, pause: FIRST_TRY });
            }
        }
    }

    /// Nothing is left of the channel here.
    pub(super) fn release(&mut self, ticket: Ticket, left: Left, now: Instant) {
        let Some(account) = self.of(ticket) else { return };
        account.trying &= !ticket.trial;
        match (ticket.session, left) {
            (false, _) => account.others = account.others.saturating_sub(1),
            (true, Left::Nothing) => account.used = account.used.saturating_sub(1),
            (true, Left::Notice) => {
                account.confirmed = account.confirmed.saturating_sub(1);
                account.settling += 1;
            }
            (true, Left::Process) => {
                account.confirmed = account.confirmed.saturating_sub(1);
                account.used = account.used.saturating_sub(1);
                account.lingering += 1;
            }
        }
        if account.is_unused() {
            account.unused_since = now;
        }
    }

    /// The server has noticed so many ends.
    pub(super) fn settled(&mut self, number: u64, generation: u64, places: usize) {
        if let Some(account) = self.of(Ticket { number, generation, session: true, trial: false }) {
            let places = places.min(account.settling);
            account.settling -= places;
            account.used = account.used.saturating_sub(places);
        }
    }

    /// The server has refused the channel.
    pub(super) fn refused(&mut self, ticket: Ticket, now: Instant) -> Verdict {
        let Some(account) = self.of(ticket) else { return Verdict::Again };
        if !ticket.session {
            return Verdict::Tell;
        }
        // With others there, their number is the likely reason; alone, it cannot be.
        if account.used <= 1 && account.lingering == 0 {
            return self.not_opened(ticket);
        }
        account.try_at = now + account.try_pause;
        account.try_pause = account.try_pause.saturating_mul(2).min(LAST_PAUSE);
        let alone = account.used <= 1;
        account.refused_alone = if alone { account.refused_alone + 1 } else { 0 };
        if account.refused_alone >= MOST_ALONE {
            return Verdict::Leave;
        }
        let limit = (account.confirmed + account.settling + account.lingering).max(1);
        if limit < self.limit(now) {
            let before = self.learned.filter(|before| before.limit == limit);
            let pause = match before {
                Some(before) if before.is_doubtful(now) => before.pause.saturating_mul(2).min(LAST_TRY),
                Some(before) => before.pause,
                None => FIRST_TRY,
            };
            self.learned = Some(Learned { limit, at: now, pause });
        }
        Verdict::Again
    }

    /// The server has not opened the channel, for no reason that lies with others.
    pub(super) fn not_opened(&mut self, ticket: Ticket) -> Verdict {
        let most = self.max_failed_opens;
        let Some(account) = self.of(ticket) else { return Verdict::Tell };
        account.failures += 1;
        if account.proven && account.serving && account.failures >= most {
            Verdict::Evict
        } else {
            Verdict::Tell
        }
    }

    /// The server has not answered the open in time: its place is taken until it does. Says whether too few are left.
    pub(super) fn overdue(&mut self, ticket: Ticket, now: Instant) -> Option<Eviction> {
        let limit = self.limit(now);
        let account = self.of(ticket).filter(|_| ticket.session)?;
        account.overdue += 1;
        (account.serving && account.overdue.saturating_mul(2) > limit).then_some(Eviction::Unanswered)
    }

    /// The server has answered after all, or will not any more.
    pub(super) fn not_overdue(&mut self, ticket: Ticket) {
        if let Some(account) = self.of(ticket).filter(|_| ticket.session) {
            account.overdue = account.overdue.saturating_sub(1);
        }
    }

    /// The channel was ended for holding its connection up. Says whether that was once too often.
    pub(super) fn stalled(&mut self, ticket: Ticket) -> Option<Eviction> {
        let most = self.max_stalls;
        let account = self.of(ticket)?;
        account.stalls += 1;
        (account.serving && account.stalls >= most).then_some(Eviction::Stalls)
    }
}

#[cfg(test)]
mod tests;
