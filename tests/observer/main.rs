//! The example `observer` without a terminal: its own live system, its keys, its picture in a buffer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a failed expectation ends the test; the modules are the example's"
)]

#[path = "../../examples/observer/app.rs"]
mod app;
#[path = "../../examples/observer/demo.rs"]
mod demo;
#[path = "../../examples/observer/draw.rs"]
mod draw;
#[path = "../../examples/observer/screen.rs"]
mod screen;
mod terminal;

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ractor_ssh::observe::{Group, NodeKind, Tree};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use app::{Action, App};
use demo::Demo;

/// The observer at work, on a screen of its own.
struct Observer {
    app: App,
    house: Group,
    terminal: Terminal<TestBackend>,
    last: Instant,
}

impl Observer {
    async fn new(house: Group) -> Self {
        let terminal = Terminal::new(TestBackend::new(200, 60)).unwrap();
        Self { app: App::new(house.tree().await), house, terminal, last: Instant::now() }
    }

    /// Looks again and draws.
    async fn look(&mut self) -> String {
        let tree = self.house.tree().await;
        self.app.update(tree, self.last.elapsed());
        self.last = Instant::now();
        self.draw()
    }

    fn draw(&mut self) -> String {
        self.terminal.draw(|frame| draw::draw(frame, &mut self.app)).unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let lines =
            buffer.content().chunks(width).map(|line| line.iter().map(|cell| cell.symbol()).collect());
        lines.collect::<Vec<String>>().join("\n")
    }

    /// Looks until the picture is as it should be.
    async fn until(&mut self, what: &str, mut shown: impl FnMut(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let picture = self.look().await;
            if shown(&picture) {
                return picture;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{what} is not shown:\n{picture}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn press(&mut self, code: KeyCode) -> Option<Action> {
        self.app.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Goes down from the top to the first such node.
    fn select(&mut self, which: impl Fn(&Tree) -> bool) {
        self.press(KeyCode::Home);
        while !which(self.app.selected()) {
            let before = self.app.list.selected();
            self.press(KeyCode::Down);
            assert_ne!(self.app.list.selected(), before, "no such node");
        }
    }
}

fn is_feed(node: &Tree) -> bool {
    node.kind == NodeKind::Supervised && node.name == "Follow feed 40000"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_is_shown_and_a_killed_channel_comes_back_as_its_next_incarnation() {
    let demo = Demo::start().await.unwrap();
    let mut observer = Observer::new(demo.house()).await;
    let up = |picture: &str| {
        [
            "daemon 127.0.0.1:",
            "managed web@127.0.0.1:",
            "conn web ",
            "managed backup@",
            "super Slow feed 200000",
        ]
        .iter()
        .chain(&["super Follow feed 2000 ", "super Follow feed 40000 incarnation 1 is up", "chan #"])
        .all(|text| picture.contains(text))
    };
    observer.until("the whole demo", up).await;

    observer.select(is_feed);
    let flows = |picture: &str| picture.lines().any(|line| line.contains("in ") && line.contains("KiB/s"));
    let picture = observer.until("its throughput", flows).await;
    assert!(picture.contains("supervised channel ") && picture.contains("incarnation  1"), "{picture}");

    let Some(Action::Kill(actor)) = observer.press(KeyCode::Char('x')) else { panic!("nothing to kill") };
    assert!(observer.draw().contains("killed the actor"));
    actor.kill();
    observer.until("the backoff", |picture| picture.contains("restart 1 follows in")).await;
    let back = |picture: &str| picture.contains("super Follow feed 40000 incarnation 2 is up");
    let picture = observer.until("the second incarnation", back).await;
    assert!(picture.contains("open, incarnation 2"), "{picture}");
    assert!(picture.contains("last end  killed"), "{picture}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stuck_is_told_of_the_selected_channel() {
    let demo = Demo::start().await.unwrap();
    let mut observer = Observer::new(demo.house()).await;
    observer
        .until("the slow channel", |picture| picture.contains("super Slow feed 200000 incarnation 1 is up"))
        .await;
    observer.select(|node| {
        node.kind == NodeKind::Channel
            && node.name.ends_with("feed 200000")
            && node.get("incarnation").is_some()
    });
    observer
        .until("why it is stuck", |picture| picture.contains("! its behaviour has held one callback"))
        .await;
    observer.until("whose fault it is", |picture| picture.contains("reading paused")).await;
    assert!(!observer.look().await.contains(" 0 stuck"));
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_fold_explain_and_leave() {
    let demo = Demo::start().await.unwrap();
    let mut observer = Observer::new(demo.house()).await;
    observer.until("a feed", |picture| picture.contains("super Follow feed 40000")).await;
    let before = observer.app.rows().len();
    observer.press(KeyCode::Char(' '));
    assert_eq!(observer.app.rows().len(), 1);
    assert!(observer.draw().contains("▸ group demo"));
    observer.press(KeyCode::Char(' '));
    assert_eq!(observer.app.rows().len(), before);

    assert!(observer.press(KeyCode::Char('x')).is_none());
    assert!(observer.draw().contains("nothing to kill"), "a group cannot be killed");
    observer.press(KeyCode::Char('?'));
    assert!(observer.draw().contains("kill the actor of the selected channel"));
    assert!(observer.press(KeyCode::Esc).is_none());
    assert!(!observer.draw().contains("kill the actor of the selected channel"));

    observer.press(KeyCode::End);
    assert_eq!(observer.app.list.selected(), Some(before - 1));
    observer.press(KeyCode::Up);
    assert_eq!(observer.app.list.selected(), Some(before - 2));
    observer.press(KeyCode::Char('p'));
    demo.stop().await;
    assert!(observer.look().await.contains("not looking"));
    assert_eq!(observer.app.rows().len(), before, "what was seen last stays");
    observer.press(KeyCode::Char('p'));
    observer.select(is_feed_or_managed);
    observer.look().await;
    assert!(observer.app.list.selected().is_some(), "the selection is always on something");
    assert!(matches!(observer.press(KeyCode::Char('q')), Some(Action::Quit)));
}

fn is_feed_or_managed(node: &Tree) -> bool {
    matches!(node.kind, NodeKind::Supervised | NodeKind::Managed)
}

#[tokio::test]
async fn a_small_screen_is_no_reason_to_fall() {
    let tree = Tree::new(NodeKind::Group, "g", "a group", "here").children([Tree::new(
        NodeKind::Channel,
        "#1",
        "a channel",
        "open",
    )
    .bytes("bytes in", 5)]);
    let mut app = App::new(tree);
    app.help = true;
    for (width, height) in [(1, 1), (10, 3), (80, 24), (300, 5)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw::draw(frame, &mut app)).unwrap();
    }
}
