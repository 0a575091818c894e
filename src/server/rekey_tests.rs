//! What a daemon's side of a connection can be asked for.

use std::sync::Arc;
use std::time::Duration;

use super::config::DaemonConfig;
use super::peer::{Plan, let_in};
use crate::auth::Auth;
use crate::error::{ConnectionError, Phase};
use crate::host_key::HostKeyPolicy;
use crate::wire::keys::generate_ed25519;
use crate::{Client, ClientConfig};

#[tokio::test]
async fn a_key_exchange_that_a_server_cannot_ask_for_is_refused_at_once() {
    let config =
        DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(generate_ed25519()).password(|_, _| async { true });
    let plan = Arc::new(Plan::new(config).unwrap());
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let client = Client::new(
        ClientConfig::new("test", "alice")
            .auth(Auth::new().password("x".to_owned().into()))
            .host_key(HostKeyPolicy::danger_accept_anything()),
    );
    let connecting = tokio::spawn(async move { client.connect_stream(theirs).await });
    let server = let_in(&plan, ours, (None, None)).await.unwrap();
    let client = connecting.await.unwrap().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), server.rekey()).await.expect("no answer");
    assert!(matches!(answer, Err(ConnectionError::Unsupported(_))), "{answer:?}");
    assert_eq!((server.phase(), client.phase()), (Phase::Up, Phase::Up));
    server.close().await;
}
