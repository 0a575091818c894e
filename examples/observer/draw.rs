//! The picture: the tree, the selected node, its throughput and that of everything.

use ractor_ssh::observe::{NodeKind, Tree, Value};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, List, ListItem, Paragraph, RenderDirection, Sparkline, Wrap};

use crate::app::{App, Meter, Row};

const KEYS: [(&str, &str); 8] = [
    ("↑ ↓ PgUp PgDn Home End", "move"),
    ("← →, space", "fold and unfold"),
    ("x", "kill the actor of the selected channel; if it is supervised, it comes back"),
    ("p", "stop and go on looking"),
    ("?", "this help"),
    ("q, Esc, Ctrl-C", "leave"),
    ("red lines beginning with !", "why something stands still"),
    ("in, out", "bytes received and sent, as the node counts them"),
];

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(52), Constraint::Percentage(48)]).areas(body);
    let [detail, own, total] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(8), Constraint::Length(8)]).areas(right);
    heading(frame, head, app);
    tree(frame, left, app);
    details(frame, detail, app.selected());
    throughput(frame, own, " throughput of the selected node ", app.meter());
    throughput(frame, total, " throughput of all ", app.total());
    footing(frame, foot, app);
    if app.help {
        help(frame, body);
    }
}

fn heading(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let stuck = app.tree.walk().filter(|node| !node.stuck.is_empty()).count();
    let mut line = vec![
        Span::from(" observer ").bold().reversed(),
        Span::from(format!(" {} nodes, ", app.tree.len())),
        Span::styled(format!("{stuck} stuck"), if stuck > 0 { Color::Red } else { Color::Green }),
    ];
    if app.paused {
        line.push(Span::from("  not looking: p goes on").yellow());
    }
    frame.render_widget(Line::from(line), area);
}

fn footing(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let line = match &app.message {
        Some(message) => Line::from(format!(" {message}")).yellow(),
        None => Line::from(" ↑↓ move   space fold   x kill   p pause   ? help   q quit").dim(),
    };
    frame.render_widget(line, area);
}

fn tree(frame: &mut Frame<'_>, area: Rect, app: &mut App) {
    let items: Vec<ListItem<'static>> = app.rows().iter().map(item).collect();
    let list = List::new(items)
        .block(Block::bordered().title(" tree "))
        .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(list, area, &mut app.list);
}

fn item(row: &Row<'_>) -> ListItem<'static> {
    let node = row.node;
    let mark = match (node.children.is_empty(), row.folded) {
        (true, _) => "  ",
        (false, true) => "▸ ",
        (false, false) => "▾ ",
    };
    let stuck = !node.stuck.is_empty();
    ListItem::new(Line::from(vec![
        Span::from("  ".repeat(row.depth)),
        Span::from(mark),
        Span::styled(short(node.kind), color(node.kind)),
        Span::from(format!(" {} ", node.name)),
        Span::from(node.state.clone()).dim(),
        Span::styled(if stuck { " !" } else { "" }, Style::new().fg(Color::Red).bold()),
    ]))
}

const fn short(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Group => "group",
        NodeKind::Daemon => "daemon",
        NodeKind::Pool => "pool",
        NodeKind::Managed => "managed",
        NodeKind::Connection => "conn",
        NodeKind::Supervised => "super",
        NodeKind::Channel => "chan",
        _ => "node",
    }
}

const fn color(kind: NodeKind) -> Color {
    match kind {
        NodeKind::Daemon | NodeKind::Pool => Color::Magenta,
        NodeKind::Managed => Color::Blue,
        NodeKind::Connection => Color::Cyan,
        NodeKind::Supervised => Color::Yellow,
        NodeKind::Channel => Color::Green,
        _ => Color::Gray,
    }
}

fn details(frame: &mut Frame<'_>, area: Rect, node: &Tree) {
    let mut lines = vec![Line::from(node.name.clone()).bold(), Line::from(node.state.clone())];
    lines.extend(node.stuck.iter().map(|why| Line::from(format!("! {why}")).red()));
    lines.push(Line::default());
    let width = node.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    lines.extend(node.facts.iter().map(|fact| {
        Line::from(vec![
            Span::from(format!("{:>width$}  ", fact.name)).dim(),
            Span::from(fact.value.to_string()),
        ])
    }));
    let block = Block::bordered().title(format!(" {} ", node.kind));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn throughput(frame: &mut Frame<'_>, area: Rect, title: &'static str, meter: Option<&Meter>) {
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(meter) = meter else { return };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1); 2]).areas(inner);
    for (area, name, history, color) in
        [(upper, "in ", &meter.received, Color::Green), (lower, "out", &meter.sent, Color::Blue)]
    {
        let now = history.back().copied().unwrap_or(0);
        let [label, line] = Layout::horizontal([Constraint::Length(18), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::from(format!("{name} {}/s", Value::Bytes(now))), label);
        let newest_first: Vec<u64> = history.iter().rev().copied().collect();
        let sparkline =
            Sparkline::default().data(newest_first).direction(RenderDirection::RightToLeft).style(color);
        frame.render_widget(sparkline, line);
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| Line::from(vec![Span::from(format!(" {key:<27}")).bold(), Span::from(*what)]))
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let area = area.centered(Constraint::Max(112), Constraint::Max(height));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}
