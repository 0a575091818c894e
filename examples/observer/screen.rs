//! The terminal: taken over, and given back on every way out.

use std::io::{self, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossterm::event::{self, Event, KeyEvent};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::mpsc;

/// How often the thread that reads keys looks whether it is needed.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal in our hands. Dropping it gives it back.
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
    over: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. The receiver gets keys, and `None` when the picture needs to be drawn anew.
    pub(crate) fn enter() -> io::Result<(Self, mpsc::UnboundedReceiver<Option<KeyEvent>>)> {
        catch_panics();
        enable_raw_mode()?;
        // From here on it is given back, whatever fails.
        let screen = Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, over: Arc::default() };
        execute!(stdout(), EnterAlternateScreen)?;
        let (tell, keys) = mpsc::unbounded_channel();
        let over = Arc::clone(&screen.over);
        std::thread::spawn(move || read_keys(&over, &tell));
        Ok((screen, keys))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        restore();
    }
}

fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = disable_raw_mode();
}

fn read_keys(over: &AtomicBool, tell: &mpsc::UnboundedSender<Option<KeyEvent>>) {
    while !over.load(Ordering::Relaxed) {
        match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let told = match event::read() {
            Ok(Event::Key(key)) => tell.send(Some(key)),
            Ok(Event::Resize(..)) => tell.send(None),
            Ok(_) => Ok(()),
            Err(_) => return,
        };
        if told.is_err() {
            return;
        }
    }
}

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic of a channel that is looked at is caught by its actor, and must not be printed across the picture; one of our
/// own ends the program, and is to be read.
fn catch_panics() {
    let (ours, before) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == ours {
            restore();
            before(panic);
        } else {
            *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
        }
    }));
}

/// A panic elsewhere in the program since this was last asked.
pub(crate) fn last_panic() -> Option<String> {
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take()
}
