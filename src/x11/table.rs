//! The displays that are forwarded over one connection, by the cookies that were made up for them; and what becomes of a
//! connection that somebody makes to one of them.
//!
//! An `x11` channel does not say which command it belongs to (RFC 4254 section 6.3.2): its first packet does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connect::connect;
use super::cookie::Cookie;
use super::display::Display;
use super::forward::Prepared;
use super::setup::{MAX_SETUP, Setup, Wrong, refusal};

/// How long a client may take for its first packet, and the X server to be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that are passed on at a time.
const PIECE: usize = 64 << 10;

/// The displays that are forwarded.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Vec<Arc<Entry>>>);

#[derive(Debug)]
struct Entry {
    display: Display,
    fake: Cookie,
    real: Option<Cookie>,
    /// Nobody may connect after that.
    until: Option<Instant>,
    single_connection: bool,
    used: AtomicBool,
    places: Arc<Semaphore>,
}

/// A display that is forwarded as long as this exists.
#[derive(Debug)]
pub(crate) struct Registration {
    table: Arc<Table>,
    entry: Arc<Entry>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.lock().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

/// A connection that was let in.
struct Guest {
    entry: Arc<Entry>,
    _place: OwnedSemaphorePermit,
}

impl Table {
    /// Lets those in who show the made-up cookie.
    pub(crate) fn register(self: &Arc<Self>, prepared: Prepared) -> Registration {
        let entry = Arc::new(Entry {
            display: prepared.display,
            fake: prepared.fake,
            real: prepared.real,
            until: prepared.lasts.and_then(|lasts| Instant::now().checked_add(lasts)),
            single_connection: prepared.single_connection,
            used: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(prepared.max_connections.min(Semaphore::MAX_PERMITS))),
        });
        self.lock().push(Arc::clone(&entry));
        Registration { table: Arc::clone(self), entry }
    }

    #[cfg(unix)]
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Serves one connection: looks at its first packet, puts the display's own cookie there, and passes everything on
    /// both ways, each end by itself.
    pub(crate) async fn serve(
        self: Arc<Self>,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        from: String,
    ) {
        let mut came = Vec::with_capacity(MAX_SETUP);
        let let_in = tokio::time::timeout(PATIENCE, self.let_in(&mut client, &mut came)).await;
        let why = match let_in.unwrap_or(Err(Refused::Silent)) {
            Ok((guest, mut server)) => {
                tracing::debug!(display = %guest.entry.display, from, "an X11 client is let in");
                let passed = copy_bidirectional_with_sizes(&mut client, &mut server, PIECE, PIECE).await;
                match passed {
                    Ok((sent, got)) => tracing::debug!(sent, got, "an X11 connection ended"),
                    Err(error) => tracing::debug!(%error, "an X11 connection was cut off"),
                }
                return;
            }
            Err(why) => why,
        };
        tracing::warn!(from, %why, "an X11 connection is refused");
        // It may be gone already, or read nothing; then there is nobody to tell.
        let telling = async {
            client.write_all(&refusal(&came, &format!("SSH X11 forwarding: {why}"))).await?;
            client.shutdown().await
        };
        let _ = tokio::time::timeout(PATIENCE, telling).await;
    }

    async fn let_in(
        &self,
        client: &mut (impl AsyncRead + Unpin),
        came: &mut Vec<u8>,
    ) -> Result<(Guest, Box<dyn super::XStream>), Refused> {
        let mut piece = [0; MAX_SETUP];
        let (guest, packet) = loop {
            if let Some(setup) = Setup::read(came)? {
                let guest = self.admit(setup.shown())?;
                let packet = setup.with(guest.entry.real.as_ref());
                break (guest, packet);
            }
            // No more than the packet: what comes behind it stays where it is.
            let room = piece.get_mut(..MAX_SETUP.saturating_sub(came.len())).unwrap_or_default();
            let read = client.read(room).await.map_err(Refused::Lost)?;
            if read == 0 {
                return Err(Refused::Short);
            }
            came.extend_from_slice(room.get(..read).unwrap_or_default());
        };
        let mut server = match connect(&guest.entry.display).await {
            Ok(server) => server,
            Err(error) => return Err(Refused::NoServer(error)),
        };
        server.write_all(&packet).await.map_err(Refused::Lost)?;
        Ok((guest, server))
    }

    fn admit(&self, shown: &[u8]) -> Result<Guest, Refused> {
        let table = self.lock();
        // All are looked at, so that time tells nothing.
        let found =
            table.iter().fold(None, |found, entry| if entry.fake.is(shown) { Some(entry) } else { found });
        let entry = Arc::clone(found.ok_or(Refused::WrongCookie)?);
        drop(table);
        if entry.until.is_some_and(|until| Instant::now() >= until) {
            return Err(Refused::TooLate);
        }
        let place = Arc::clone(&entry.places).try_acquire_owned().map_err(|_| Refused::TooMany)?;
        if entry.used.swap(true, Ordering::Relaxed) && entry.single_connection {
            return Err(Refused::Second);
        }
        Ok(Guest { entry, _place: place })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection is not passed on.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("its first packet is none of X11")]
    NoX11,
    #[error("it shows no MIT-MAGIC-COOKIE-1")]
    NoCookie,
    #[error("it shows a wrong cookie")]
    WrongCookie,
    #[error("untrusted clients may connect no more: the time for that is over")]
    TooLate,
    #[error("only one connection was to be forwarded")]
    Second,
    #[error("there are too many connections")]
    TooMany,
    #[error("it ended before it had said who it is")]
    Short,
    #[error("it did not say who it is in time")]
    Silent,
    #[error("{0}")]
    NoServer(super::X11Error),
    #[error("it failed: {0}")]
    Lost(io::Error),
}

impl From<Wrong> for Refused {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::NoX11 => Self::NoX11,
            Wrong::NoCookie => Self::NoCookie,
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A display on a socket in a directory of its own; its X server is the test.
    fn display() -> (tempfile::TempDir, UnixListener, Display) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x:0");
        let listener = UnixListener::bind(&path).unwrap();
        (directory, listener, path.to_str().unwrap().parse().unwrap())
    }

    fn prepared(display: &Display) -> Prepared {
        Prepared {
            display: display.clone(),
            fake: Cookie::made_up(),
            real: Some(Cookie::made_up()),
            lasts: None,
            single_connection: false,
            max_connections: 2,
        }
    }

    fn hello(cookie: &Cookie) -> Vec<u8> {
        let mut packet = b"l\0\x0b\0\0\0\x12\0\x10\0\0\0MIT-MAGIC-COOKIE-1\0\0".to_vec();
        packet.extend_from_slice(cookie.bytes());
        packet
    }

    fn connect_to(table: &Arc<Table>) -> tokio::io::DuplexStream {
        let (client, ours) = tokio::io::duplex(1024);
        tokio::spawn(Arc::clone(table).serve(ours, "somewhere".to_owned()));
        client
    }

    /// What the refusal says.
    async fn refused(table: &Arc<Table>, said: &[u8]) -> String {
        let mut client = connect_to(table);
        client.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&0), "refused as X11 has it");
        String::from_utf8_lossy(answer.get(8..).unwrap()).into_owned()
    }

    #[tokio::test]
    async fn whoever_shows_the_made_up_cookie_reaches_the_display_with_its_own() {
        let (_directory, listener, display) = display();
        let table = Arc::new(Table::default());
        let (one, other) = (prepared(&display), prepared(&display));
        let (fakes, reals) = ([one.fake.clone(), other.fake.clone()], [one.real.clone(), other.real.clone()]);
        let _registrations = [table.register(one), table.register(other)];
        for (fake, real) in fakes.iter().zip(reals) {
            let mut client = connect_to(&table);
            for byte in hello(fake) {
                client.write_all(&[byte]).await.unwrap();
            }
            client.write_all(b"draw").await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let mut got = vec![0; MAX_SETUP + 4];
            server.read_exact(&mut got).await.unwrap();
            let expected = [hello(&real.unwrap()), b"draw".to_vec()].concat();
            assert_eq!(got, expected);
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut got).await.unwrap(), 0, "the end is passed on by itself");
            server.write_all(b"drawn").await.unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "drawn");
        }
    }

    #[tokio::test]
    async fn whoever_shows_anything_else_reaches_nothing_and_is_told() {
        let (_directory, listener, display) = display();
        let table = Arc::new(Table::default());
        let one = prepared(&display);
        let (fake, real) = (one.fake.clone(), one.real.clone().unwrap());
        let registration = table.register(one);
        assert!(refused(&table, &hello(&Cookie::made_up())).await.contains("wrong cookie"));
        assert!(
            refused(&table, &hello(&real)).await.contains("wrong cookie"),
            "the display's own is not for them"
        );
        assert!(refused(&table, b"l\0\x0b\0\0\0\0\0\0\0\0\0").await.contains("shows no MIT-MAGIC-COOKIE-1"));
        drop(registration);
        assert!(table.is_empty());
        assert!(refused(&table, &hello(&fake)).await.contains("wrong cookie"), "when the command is over");
        let reached = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(reached.is_err(), "nothing reached the display");
    }

    #[tokio::test]
    async fn a_single_connection_is_no_second_one_and_their_number_is_limited() {
        let (_directory, listener, display) = display();
        let table = Arc::new(Table::default());
        let single = Prepared { single_connection: true, ..prepared(&display) };
        let fake = single.fake.clone();
        let registration = table.register(single);
        let mut client = connect_to(&table);
        client.write_all(&hello(&fake)).await.unwrap();
        let first = listener.accept().await.unwrap();
        assert!(refused(&table, &hello(&fake)).await.contains("only one connection"));
        drop((registration, client, first));
        let many = prepared(&display);
        let fake = many.fake.clone();
        let _registration = table.register(many);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = connect_to(&table);
            client.write_all(&hello(&fake)).await.unwrap();
            held.push((client, listener.accept().await.unwrap()));
        }
        assert!(refused(&table, &hello(&fake)).await.contains("too many"));
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_time_nobody_new_is_let_in_and_who_says_nothing_is_not_waited_for() {
        let (_directory, _listener, display) = display();
        let table = Arc::new(Table::default());
        let short = Prepared { lasts: Some(Duration::from_secs(60)), ..prepared(&display) };
        let fake = short.fake.clone();
        let _registration = table.register(short);
        assert!(refused(&table, b"l").await.contains("in time"));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(refused(&table, &hello(&fake)).await.contains("the time for that is over"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_hear_its_refusal_is_not_waited_for() {
        let (mut client, ours) = tokio::io::duplex(8);
        let served = tokio::spawn(Arc::new(Table::default()).serve(ours, "somewhere".to_owned()));
        let packet = hello(&Cookie::made_up());
        client.write_all(&packet).await.unwrap();
        tokio::time::timeout(10 * PATIENCE, served).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_display_that_is_not_there_is_told() {
        let (directory, listener, display) = display();
        let table = Arc::new(Table::default());
        let one = prepared(&display);
        let fake = one.fake.clone();
        let _registration = table.register(one);
        drop((listener, directory));
        assert!(refused(&table, &hello(&fake)).await.contains("the X server of"));
    }
}
