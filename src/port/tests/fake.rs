//! A link that keeps what is sent, and a port on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use crate::observe::Gauges;
use crate::port::budget::{ChannelBudget, ConnectionBudget};
use crate::port::{Link, LinkClosed, LinkLook, Port, PortSetup};
use crate::wire::codes::DataType;
use crate::wire::id::ChannelKey;
use crate::wire::request::ChannelRequest;

pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One message on the fake wire. Neighbouring data is one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Out {
    Data(Vec<u8>),
    Request(String, bool),
    Eof,
    Close,
}

pub(super) fn append(log: &mut Vec<Out>, item: Out) {
    match (log.last_mut(), item) {
        (Some(Out::Data(all)), Out::Data(more)) => all.extend(more),
        (_, item) => log.push(item),
    }
}

#[derive(Default)]
pub(super) struct Wire {
    pub(super) window: usize,
    pub(super) log: Vec<Out>,
    pub(super) largest: usize,
    /// The peer has closed: nothing of ours needs an answer.
    pub(super) peer_closed: bool,
    pub(super) dead: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    wire: Mutex<Wire>,
    changed: Notify,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Wire)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Wire) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let seen = look(&mut self.lock());
            if let Some(seen) = seen {
                return seen;
            }
            changed.await;
        }
    }

    fn send(&self, item: Out) -> Result<(), LinkClosed> {
        let mut wire = self.lock();
        if wire.dead {
            return Err(LinkClosed);
        }
        append(&mut wire.log, item);
        Ok(())
    }
}

/// At most this much in one packet.
pub(super) const MAX_PACKET: usize = 10;

pub(super) struct FakeLink(pub(super) Arc<Shared>);

impl Link for FakeLink {
    fn send_chunk<'a>(
        &'a self,
        _data_type: DataType,
        data: &'a mut Bytes,
    ) -> BoxFuture<'a, Result<usize, LinkClosed>> {
        async move {
            self.0
                .until(|wire| {
                    if wire.dead {
                        return Some(Err(LinkClosed));
                    }
                    let len = wire.window.min(MAX_PACKET).min(data.len());
                    if len == 0 {
                        return None;
                    }
                    wire.window -= len;
                    wire.largest = wire.largest.max(len);
                    append(&mut wire.log, Out::Data(data.split_to(len).to_vec()));
                    Some(Ok(len))
                })
                .await
        }
        .boxed()
    }

    fn look(&self) -> LinkLook {
        LinkLook { send_window: u64::try_from(self.0.lock().window).ok(), ..LinkLook::default() }
    }

    fn supports(&self, _request: &ChannelRequest) -> Result<(), String> {
        Ok(())
    }

    fn send_request(&self, request: ChannelRequest, want: bool) -> BoxFuture<'_, Result<(), LinkClosed>> {
        let ChannelRequest::Exec { command } = request else { return async { Ok(()) }.boxed() };
        let name = String::from_utf8_lossy(&command).into_owned();
        async move { self.0.send(Out::Request(name, want)) }.boxed()
    }

    fn send_reply(&self, _success: bool) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async { Ok(()) }.boxed()
    }

    fn send_eof(&self) -> BoxFuture<'_, Result<(), LinkClosed>> {
        async move { self.0.send(Out::Eof) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if self.0.send(Out::Close).is_ok() {
                self.0.until(|wire| (wire.peer_closed || wire.dead).then_some(())).await;
            }
        }
        .boxed()
    }
}

/// A port, its wire and its accounts.
pub(super) struct Bench {
    pub(super) port: Arc<Port>,
    pub(super) wire: Arc<Shared>,
    pub(super) connection: Arc<ConnectionBudget>,
    pub(super) gone: Arc<AtomicUsize>,
}

impl Bench {
    /// Must be called within a runtime.
    pub(super) fn new(high_water: usize, window: usize) -> Self {
        let bench = Self::unconnected(high_water, window);
        bench.port.connect(Box::new(FakeLink(Arc::clone(&bench.wire))));
        bench
    }

    pub(super) fn unconnected(high_water: usize, window: usize) -> Self {
        let connection = ConnectionBudget::new(1 << 20);
        let gone = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&gone);
        let port = Port::new(PortSetup {
            key: ChannelKey::new(1),
            budget: ChannelBudget::new(Arc::clone(&connection), 1 << 20),
            high_water,
            fail_over_budget: false,
            close_timeout: CLOSE_TIMEOUT,
            gauges: Arc::new(Gauges::new()),
            on_gone: Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        });
        let wire = Arc::new(Shared::default());
        wire.lock().window = window;
        port.await_gone();
        Self { port, wire, connection, gone }
    }

    pub(super) fn log(&self) -> Vec<Out> {
        self.wire.lock().log.clone()
    }

    pub(super) fn times_gone(&self) -> usize {
        self.gone.load(Ordering::SeqCst)
    }
}

/// Everything that can happen without time passing has happened when this returns; on a paused clock.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
