//! `tracing` spans: connection, authentication, channel, within each other, with ids, peer and user, and never with
//! payload or secrets. Both ends in one process, on one thread, and no other test beside it.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation ends the test")]

#[path = "../metrics/system.rs"]
mod system;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use system::{Echo, PASSWORD, USER, client, daemon};

const PAYLOAD: &str = "the-payload-of-the-day";

/// Every span as `outer > inner{fields}`, and every event below its spans.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

/// What a span was made with.
struct Shown(String);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Heard {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).unwrap();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Shown(format!("{}{{{}}}", span.name(), fields.0.trim())));
        let path: Vec<_> = span
            .scope()
            .from_root()
            .map(|span| span.extensions().get::<Shown>().map_or_else(String::new, |shown| shown.0.clone()))
            .collect();
        self.0.lock().unwrap().push(path.join(" > "));
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        // russh's own packet dumps are not ours to mend; they are for a level nobody runs with.
        if !event.metadata().target().starts_with("ractor_ssh") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope: Vec<_> =
            ctx.event_scope(event).into_iter().flatten().map(|span| span.name().to_owned()).collect();
        self.0.lock().unwrap().push(format!("event in {scope:?}:{}", fields.0));
    }
}

#[tokio::test]
async fn spans_lie_within_each_other_and_name_ids_peer_and_user_but_no_payload_or_secret() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(heard.clone()));

    let daemon = daemon().await;
    let conn = client(&daemon, PASSWORD).connect().await.unwrap();
    conn.exec(format!("say {PAYLOAD}")).output().await.unwrap();
    let echo = conn.session_channel(Echo).await.unwrap();
    echo.send(PAYLOAD).await.unwrap();
    let id = echo.id();
    echo.cast("it was planted").unwrap();
    echo.wait().await;
    conn.close().await;
    daemon.stop().await;

    let heard = heard.0.lock().unwrap().clone();
    let port = daemon.local_addr().port();
    let all = heard.join("\n");
    let one = |parts: &[&str]| {
        assert!(
            heard.iter().any(|line| parts.iter().all(|part| line.contains(part))),
            "no line with {parts:?} in\n{all}"
        );
    };
    // Ours as a client.
    let connection = format!("ssh_connection{{host=127.0.0.1 port={port} user={USER}}}");
    for phase in ["ssh_dial", "ssh_version", "ssh_kex", "ssh_auth"] {
        one(&[&format!("{connection} > {phase}")]);
    }
    let up = format!("{connection} > ssh_up{{peer=127.0.0.1:{port}}} > ");
    one(&[&up, &format!("ssh_channel{{id={id} kind=\"session\" behaviour="), "Echo\"}"]);
    // The daemon's.
    one(&["ssh_peer{session=", "peer=127.0.0.1:", " > ssh_auth{user=\"alice\"}"]);
    one(&["ssh_peer{", " > ssh_up{user=\"alice\"} > ssh_channel{id=", "kind=\"session\""]);
    // What a behaviour does is recorded below its channel.
    one(&["event in [\"ssh_channel\", \"ssh_up\", \"ssh_connection\"", "it was planted"]);
    one(&["event in [\"ssh_auth\", \"ssh_peer\"", "login accepted"]);

    for hidden in [PASSWORD, PAYLOAD] {
        assert!(!all.contains(hidden), "{hidden} was written down:\n{all}");
    }
}
