//! Nodes of channels and connections, from their infos.

use super::channel::{ChannelInfo, Used};
use super::info::ConnectionInfo;
use super::tree::{BYTES_IN, BYTES_OUT, NodeKind, Tree, Value};
use super::words;

fn of(used: Used) -> Value {
    format!("{} of {}", words::size(used.used), words::size(used.limit)).into()
}

/// A server is not told everything.
fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl From<&ChannelInfo> for Tree {
    fn from(info: &ChannelInfo) -> Self {
        let what = match &info.command {
            Some(command) => command.to_string(),
            None => words::type_name(info.behaviour),
        };
        let state = match (&info.closed, info.supervised) {
            (Some(reason), _) => format!("{}: {reason}", info.state),
            (None, Some(lineage)) => format!("{}, incarnation {}", info.state, lineage.incarnation),
            (None, None) => info.state.to_string(),
        };
        Self::new(NodeKind::Channel, info.id.to_string(), format!("{} {what}", info.id), state)
            .stuck(info.why_stuck())
            .actor(info.actor.clone())
            .fact("type", info.kind)
            .fact("behaviour", words::type_name(info.behaviour))
            .maybe("runs", info.command.as_deref().map(str::to_owned))
            .maybe("actor", info.actor.as_ref().map(|actor| actor.get_id().to_string()))
            .maybe("owner", info.owner.map(|owner| owner.to_string()))
            .maybe("incarnation", info.supervised.map(|lineage| Value::Count(lineage.incarnation)))
            .maybe("restarts", info.supervised.map(|lineage| Value::Count(lineage.restarts)))
            .fact("age", info.age)
            .fact("last activity", info.idle)
            .bytes(BYTES_IN, info.bytes_in)
            .bytes(BYTES_OUT, info.bytes_out)
            .fact("unread", of(Used::new(info.unread, info.receive_budget)))
            .count("events waiting", info.waiting as u64)
            .fact("queued to send", of(Used::new(info.queued, info.high_water)))
            .fact("our window", info.receive_window.map_or_else(|| "not known".into(), Value::Bytes))
            .fact("peer's window", info.send_window.map_or_else(|| "not known".into(), Value::Bytes))
            .maybe("in callback", info.callback.map(|run| run.callback.to_string()))
            .fact("held up its connection", info.held_up)
            .count("pauses caused", info.pauses)
    }
}

impl From<&ConnectionInfo> for Tree {
    /// Without its channels.
    fn from(info: &ConnectionInfo) -> Self {
        let id = info.actor.get_id().to_string();
        let name = match info.peer_addr {
            Some(addr) => format!("{} {addr}", info.user),
            None => info.user.clone(),
        };
        let state = match info.pause {
            Some(_) => format!("{}, reading paused", info.phase),
            None => info.phase.to_string(),
        };
        let counters = &info.counters;
        Self::new(NodeKind::Connection, id, name, state)
            .stuck(info.why_stuck())
            .actor(Some(info.actor.clone()))
            .fact("peer", info.peer_version.clone())
            .maybe("from", info.local_addr.map(|addr| addr.to_string()))
            .maybe("host key", known(&info.host_key_fingerprint))
            .maybe("cipher", known(&info.algorithms.cipher))
            .maybe("key exchange", known(&info.algorithms.kex))
            .fact("logged in by", info.auth_methods.join(", "))
            .fact("up for", info.uptime)
            .fact("last activity", info.idle)
            .bytes(BYTES_IN, counters.bytes_in)
            .bytes(BYTES_OUT, counters.bytes_out)
            .fact("unread", of(Used::new(counters.unread, info.inbound_budget)))
            .maybe("on the way out", info.outbound.map(of))
            .maybe("culprit", info.pause.and_then(|pause| Some(pause.culprit?.to_string())))
            .count("pauses", counters.pauses)
            .fact("paused for", counters.paused_for)
            .count("channels", info.channels.len() as u64)
            .count("channels opened", counters.channels_opened)
            .count("opens failed", counters.opens_failed)
            .count("actors failed", counters.actors_failed)
            .count("stalled", counters.stalled)
            .count("rekeys", counters.rekeys)
            .count("keepalives sent", counters.keepalives_sent)
    }
}
