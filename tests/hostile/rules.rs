//! What holds for every test here: no panic outside of the tests themselves, whatever a peer sends, and no endless
//! line in the log.

use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::{kit, logs};

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Held by all, and by those who measure memory alone.
static TURN: RwLock<()> = RwLock::new(());

/// Notes every panic that is not a test's own failed expectation.
pub(crate) fn watch_for_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if !place.starts_with("tests/") && !place.contains("proptest") {
            let thread = std::thread::current();
            let text = format!("{info} in the thread {:?}", thread.name());
            PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        print(info);
    }));
}

pub(crate) fn panics() -> Vec<String> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn judge(outcome: Result<(), String>, panics_before: usize) -> Result<(), libtest_mimic::Failed> {
    outcome?;
    let panics = panics().split_off(panics_before);
    if !panics.is_empty() {
        return Err(format!("panicked on what a peer sent: {panics:#?}").into());
    }
    let long = logs::too_long();
    if !long.is_empty() {
        return Err(format!("said too much: {long:#?}").into());
    }
    Ok(())
}

/// A test with a minute to run.
pub(crate) fn test<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    let thread = name.to_owned();
    Trial::test(name, move || {
        let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
        let before = panics().len();
        judge(kit::execute(Duration::from_secs(60), &thread, body), before)
    })
}

/// A test that measures the memory of the process: no other runs meanwhile.
pub(crate) fn alone<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    let thread = name.to_owned();
    Trial::test(name, move || {
        let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
        let before = panics().len();
        judge(kit::execute(Duration::from_secs(120), &thread, body), before)
    })
}

/// How far the memory of the process grows above what it is now.
pub(crate) struct Memory {
    before: Option<usize>,
}

impl Memory {
    pub(crate) fn now() -> Self {
        // The mark of the highest use starts again at the present one (proc(5), `clear_refs`).
        let before = std::fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| highest());
        Self { before }
    }

    /// Fails when it was ever more than this, in MiB, where the system tells.
    pub(crate) fn grew_at_most(&self, limit: usize) {
        let (Some(before), Some(after)) = (self.before, highest()) else { return };
        let grown = after.saturating_sub(before) >> 20;
        println!("{} MiB more at the highest", grown);
        assert!(grown <= limit, "{grown} MiB more at the highest, {limit} allowed");
    }
}

/// The highest resident memory, in bytes.
fn highest() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib << 10)
}
