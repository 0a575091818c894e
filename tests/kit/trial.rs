//! Running tests against peers: one tokio runtime and one deadline each, server logs with every failure.
//!
//! Built on `libtest-mimic`, so `cargo test`, its filters and `cargo nextest` work as with ordinary tests.
//! Knows nothing of SSH beyond "a server has a log and can be killed".

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::daemon::Shared;
use super::peers::{Peer, Verdict, judge};

const TIME_LIMIT: Duration = Duration::from_secs(60);
const MOST_TRIALS_AT_ONCE: usize = 4;
const WORKERS: usize = 2;
const LOG_TAIL: usize = 16 * 1024;

tokio::task_local! {
    static RECORD: Arc<Record>;
}

/// The servers a trial has started in its own task.
#[derive(Debug, Default)]
struct Record {
    servers: Mutex<Vec<Arc<Shared>>>,
}

/// Notes a server for the failure report of the running trial; outside of one it does nothing.
pub(super) fn register(server: &Arc<Shared>) {
    let _ = RECORD.try_with(|record| record.lock().push(Arc::clone(server)));
}

impl Record {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shared>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, reason: &str) -> String {
        let mut text = reason.to_owned();
        for server in self.lock().iter() {
            let log = server.log();
            let tail = (log.len().saturating_sub(LOG_TAIL)..log.len()).find_map(|start| log.get(start..));
            text.push_str("\n--- sshd log ---\n");
            text.push_str(tail.unwrap_or_default());
        }
        text
    }
}

/// What the body of a test may return.
pub(crate) trait Verified {
    /// The failure, if it is one.
    fn failure(self) -> Option<String>;
}

impl Verified for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Debug> Verified for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// A test that needs these peers, with 60 seconds to run. Without them it is ignored (the reason stands
/// before its name), or fails under `REQUIRE_PEERS=1`.
pub(crate) fn peer_test<P, B, F>(name: &str, peers: P, body: B) -> Trial
where
    P: AsRef<[Peer]>,
    B: FnOnce() -> F + Send + 'static,
    F: Future<Output: Verified + Send> + Send + 'static,
{
    peer_test_within(TIME_LIMIT, name, peers, body)
}

/// [`peer_test`] with a time limit of its own.
pub(crate) fn peer_test_within<P, B, F>(limit: Duration, name: &str, peers: P, body: B) -> Trial
where
    P: AsRef<[Peer]>,
    B: FnOnce() -> F + Send + 'static,
    F: Future<Output: Verified + Send> + Send + 'static,
{
    let thread_name = name.to_owned();
    match judge(peers.as_ref()) {
        Verdict::Run => Trial::test(name, move || execute(limit, &thread_name, body).map_err(Failed::from)),
        Verdict::Fail(reason) => Trial::test(name, move || Err(Failed::from(reason))),
        Verdict::Ignore(reason) => {
            let kind = reason.clone();
            Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
                .with_kind(kind)
                .with_ignored_flag(true)
        }
    }
}

/// A test without peers, in which time passes only when everybody waits.
pub(crate) fn paused<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(body());
        Ok(())
    })
}

/// Runs a body on a runtime of its own. Returning an error, panicking and taking longer than `limit` (even
/// without ever yielding) are failures, reported with the logs of the servers it started.
pub(crate) fn execute<B, F>(limit: Duration, name: &str, body: B) -> Result<(), String>
where
    B: FnOnce() -> F,
    F: Future<Output: Verified + Send> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let record = Arc::new(Record::default());
    let task = runtime.spawn(RECORD.scope(Arc::clone(&record), body()));
    let abort = task.abort_handle();
    let reason = match runtime.block_on(async { tokio::time::timeout(limit, task).await }) {
        Ok(Ok(output)) => output.failure(),
        Ok(Err(error)) => Some(match error.try_into_panic() {
            Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
            Err(error) => error.to_string(),
        }),
        Err(_) => Some(format!("not done after {limit:?}")),
    };
    abort.abort();
    let result = reason.map_or(Ok(()), |reason| Err(record.report(&reason)));
    record.lock().iter().for_each(|server| server.kill());
    runtime.shutdown_background();
    result
}

/// The `main` of a test binary made of trials. Few run at once: each has servers and threads of its own.
pub(crate) fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() {
        let wanted = std::env::var("RUST_TEST_THREADS").ok().and_then(|text| text.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        arguments.test_threads = Some(wanted.unwrap_or_else(|| cores.min(MOST_TRIALS_AT_ONCE)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}
