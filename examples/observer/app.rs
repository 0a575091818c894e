//! What the observer knows and what keys do to it. Draws nothing, asks nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ractor_ssh::observe::{NodeKind, Tree};
use ractor_ssh::ractor::ActorCell;
use ratatui::widgets::ListState;

/// How many looks back the throughput is kept.
const HISTORY: usize = 240;
/// How many lines a page is.
const PAGE: usize = 10;

/// What a key asks others to do.
pub(crate) enum Action {
    /// Leave.
    Quit,
    /// Kill the actor of a channel.
    Kill(ActorCell),
}

/// One line of the tree.
pub(crate) struct Row<'a> {
    pub(crate) node: &'a Tree,
    pub(crate) depth: usize,
    pub(crate) path: String,
    pub(crate) folded: bool,
}

/// Bytes per second of one node, newest last.
#[derive(Default)]
pub(crate) struct Meter {
    seen: Option<(u64, u64)>,
    pub(crate) received: VecDeque<u64>,
    pub(crate) sent: VecDeque<u64>,
    looked_at: u64,
}

impl Meter {
    fn add(&mut self, now: (u64, u64), since: Duration) {
        let (before_in, before_out) = self.seen.replace(now).unwrap_or(now);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        // What counts from nothing again is new: another incarnation, or another connection.
        let rate =
            |now: u64, before: u64| now.checked_sub(before).unwrap_or(now).saturating_mul(1000) / millis;
        for (history, rate) in
            [(&mut self.received, rate(now.0, before_in)), (&mut self.sent, rate(now.1, before_out))]
        {
            history.push_back(rate);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
    }
}

/// The observer.
pub(crate) struct App {
    pub(crate) tree: Tree,
    pub(crate) list: ListState,
    pub(crate) message: Option<String>,
    pub(crate) help: bool,
    pub(crate) paused: bool,
    selected: String,
    folded: HashSet<String>,
    meters: HashMap<String, Meter>,
    looks: u64,
}

impl App {
    /// With the first look at a house.
    pub(crate) fn new(tree: Tree) -> Self {
        let mut app = Self {
            selected: tree.id.clone(),
            tree,
            list: ListState::default().with_selected(Some(0)),
            message: None,
            help: false,
            paused: false,
            folded: HashSet::new(),
            meters: HashMap::new(),
            looks: 0,
        };
        app.measure(Duration::from_secs(1));
        app
    }

    /// Takes in another look, so long after the last one.
    pub(crate) fn update(&mut self, tree: Tree, since: Duration) {
        if self.paused {
            return;
        }
        self.tree = tree;
        self.measure(since);
        self.keep_selection();
    }

    fn measure(&mut self, since: Duration) {
        self.looks += 1;
        measure(&self.tree, self.tree.id.clone(), &mut self.meters, (since, self.looks));
        self.meters.retain(|_, meter| meter.looked_at == self.looks);
    }

    /// The lines of the tree, from the top.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        self.add_rows(&self.tree, 0, self.tree.id.clone(), &mut rows);
        rows
    }

    fn add_rows<'a>(&self, node: &'a Tree, depth: usize, path: String, rows: &mut Vec<Row<'a>>) {
        let folded = self.folded.contains(&path);
        rows.push(Row { node, depth, path: path.clone(), folded });
        if !folded {
            for child in &node.children {
                self.add_rows(child, depth + 1, below(&path, child), rows);
            }
        }
    }

    /// The node that the keys are about.
    pub(crate) fn selected(&self) -> &Tree {
        let rows = self.rows();
        rows.iter().find(|row| row.path == self.selected).map_or(&self.tree, |row| row.node)
    }

    /// The throughput of the selected node.
    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.meters.get(&self.selected)
    }

    /// The throughput of everything.
    pub(crate) fn total(&self) -> Option<&Meter> {
        self.meters.get(&self.tree.id)
    }

    /// A node that is gone hands the selection to the one above it.
    fn keep_selection(&mut self) {
        let paths: Vec<String> = self.rows().into_iter().map(|row| row.path).collect();
        while !paths.contains(&self.selected) {
            match self.selected.rsplit_once('\n') {
                Some((above, _)) => self.selected = above.to_owned(),
                None => self.selected = self.tree.id.clone(),
            }
        }
        self.list.select(paths.iter().position(|path| *path == self.selected));
    }

    fn move_to(&mut self, at: usize) {
        let rows = self.rows();
        if let Some(row) = rows.get(at.min(rows.len().saturating_sub(1))) {
            self.selected = row.path.clone();
        }
        self.keep_selection();
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.message = None;
        let at = self.list.selected().unwrap_or(0);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Some(Action::Quit),
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Up | KeyCode::Char('k') => self.move_to(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.move_to(at + 1),
            KeyCode::PageUp => self.move_to(at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.move_to(at + PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.move_to(0),
            KeyCode::End | KeyCode::Char('G') => self.move_to(usize::MAX),
            KeyCode::Left => {
                self.folded.insert(self.selected.clone());
            }
            KeyCode::Right => {
                self.folded.remove(&self.selected);
            }
            KeyCode::Char(' ') | KeyCode::Enter if self.folded.remove(&self.selected) => {}
            KeyCode::Char(' ') | KeyCode::Enter => {
                self.folded.insert(self.selected.clone());
            }
            KeyCode::Char('x') => return self.kill(),
            _ => {}
        }
        None
    }

    fn kill(&mut self) -> Option<Action> {
        let node = self.selected();
        let channel = match node.kind {
            NodeKind::Channel => Some(node),
            NodeKind::Supervised => node.children.first(),
            _ => None,
        };
        let Some(actor) = channel.and_then(|channel| channel.actor.clone()) else {
            self.message = Some(format!("nothing to kill: select a channel that is up, not a {}", node.kind));
            return None;
        };
        self.message = Some(format!("killed the actor {} of {}", actor.get_id(), node.name));
        Some(Action::Kill(actor))
    }
}

fn below(path: &str, child: &Tree) -> String {
    format!("{path}\n{}", child.id)
}

fn measure(node: &Tree, path: String, meters: &mut HashMap<String, Meter>, look: (Duration, u64)) {
    for child in &node.children {
        measure(child, below(&path, child), meters, look);
    }
    let meter = meters.entry(path).or_default();
    meter.add((node.bytes_in(), node.bytes_out()), look.0);
    meter.looked_at = look.1;
}
