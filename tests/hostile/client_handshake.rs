//! Our client against servers that do not get as far as a login: each ends with an error that says in which phase,
//! within that phase's timeout, in bounded memory.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use futures::FutureExt;
use futures::future::BoxFuture;
use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, AuthError, Identity, KeyboardInteractive};
use ractor_ssh::error::Phase;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ClientConfig, ConnectError};

use crate::kex::{Exchange, Lists, host_key_blob};
use crate::packet::frame;
use crate::peer::{Gone, Peer};
use crate::rules::{Memory, alone, test};
use crate::server::serve;
use crate::wire::{Payload, login, number, open};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("our_client_meets_no_version", version),
        alone("our_client_meets_an_endless_banner", endless_banner),
        test("our_client_meets_broken_key_exchanges", kex),
        test("our_client_meets_a_server_that_cannot_sign", signatures),
        test("our_client_meets_broken_logins", logins),
        alone("our_client_meets_banners_without_end", banners),
        test("our_client_meets_prompts_without_end", prompts),
        test("our_client_meets_partial_successes_and_failures_without_end", partial),
        test("our_client_meets_a_server_that_takes_another_key", another_key),
    ]
}

type Script = fn(Peer) -> BoxFuture<'static, Result<Peer, Gone>>;

/// The error of a client that must fail in this phase, soon.
async fn fails(what: &str, phase: Phase, config: ClientConfig) -> ConnectError {
    println!("{what}");
    let start = Instant::now();
    let error = Client::new(config).connect().await.expect_err(what);
    assert_eq!(error.phase(), phase, "{what}: {error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{what}: {:?}", start.elapsed());
    assert!(error.to_string().len() < 20 << 10, "{what}: an error of {} bytes", error.to_string().len());
    error
}

async fn version() {
    let cases: [(&str, &'static [u8]); 6] = [
        ("silence", b""),
        ("an old protocol", b"SSH-1.5-x\r\n"),
        ("a line without an end", &[b'x'; 8192]),
        ("half a version", b"SSH-2.0-x"),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        ("junk", &[0xa5; 8192]),
    ];
    for (what, bytes) in cases {
        let config = serve(move |mut peer| async move {
            peer.send_raw(bytes).await?;
            Ok(peer)
        });
        fails(what, Phase::Version, config.await).await;
    }
}

async fn endless_banner() {
    let memory = Memory::now();
    for piece in ["be patient\r\n".repeat(5000), "x".repeat(64 << 10)] {
        let config = serve(move |mut peer| async move {
            loop {
                peer.send_raw(piece.as_bytes()).await?;
            }
        });
        fails("endless", Phase::Version, config.await).await;
    }
    // One line at a time, each in time.
    let config = serve(|mut peer| async move {
        loop {
            peer.send_raw(b"wait\r\n").await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    fails("trickling", Phase::Version, config.await).await;
    memory.grew_at_most(16);
}

async fn kex() {
    let cases: [(&str, Script); 9] = [
        ("silence", |peer| async move { Ok(peer) }.boxed()),
        ("an impossible length", |mut peer| {
            async move {
                peer.send_raw(&[0xff; 64]).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("junk for a KEXINIT", |mut peer| {
            async move {
                peer.send(Payload::new(number::KEXINIT).raw([0xff; 200])).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("half a KEXINIT", |mut peer| {
            async move {
                let honest = Lists::honest(&peer.role).payload().0;
                peer.send_raw(&frame(&honest[..60])).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("nothing in common", |mut peer| {
            async move {
                let mut lists = Lists::honest(&peer.role);
                lists.kex = "x@example.com,".repeat(800) + "y";
                Exchange::begin(&mut peer, &lists).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("KEXINIT twice", |mut peer| {
            async move {
                let lists = Lists::honest(&peer.role);
                Exchange::begin(&mut peer, &lists).await?;
                Exchange::begin(&mut peer, &lists).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("an ignored message in a strict exchange", |mut peer| {
            async move {
                let lists = Lists::honest(&peer.role);
                Exchange::begin(&mut peer, &lists).await?;
                peer.send(Payload::new(number::IGNORE).string("x")).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("NEWKEYS at once", |mut peer| {
            async move {
                let lists = Lists::honest(&peer.role);
                Exchange::begin(&mut peer, &lists).await?;
                peer.send(Payload::new(number::NEWKEYS)).await?;
                Ok(peer)
            }
            .boxed()
        }),
        ("success in the clear", |mut peer| {
            async move {
                peer.send(Payload::new(number::USERAUTH_SUCCESS)).await?;
                Ok(peer)
            }
            .boxed()
        }),
    ];
    for (what, script) in cases {
        let config = serve(move |mut peer| async move {
            peer.greet().await?;
            script(peer).await
        });
        fails(what, Phase::Kex, config.await).await;
    }
}

async fn signatures() {
    type Forge = fn(&SigningKey, &mut Payload);
    let forgeries: [(&str, Forge); 4] = [
        ("another key", |_, reply| {
            let other = SigningKey::from_bytes(&[7; 32]);
            *reply = reply.clone().string(host_key_blob(&other.verifying_key()));
        }),
        ("no key", |_, reply| *reply = reply.clone().string("")),
        ("half a key", |_, reply| *reply = reply.clone().lying_string(1 << 30, "ssh-ed25519")),
        ("its own key", |key, reply| *reply = reply.clone().string(host_key_blob(&key.verifying_key()))),
    ];
    for (what, forge) in forgeries {
        let config = serve(move |mut peer| async move {
            peer.greet().await?;
            let lists = Lists::honest(&peer.role);
            Exchange::begin(&mut peer, &lists).await?;
            let key = SigningKey::from_bytes(&rand::random());
            let mut reply = Payload::new(number::ECDH_REPLY);
            forge(&key, &mut reply);
            let signature = Payload::default().string("ssh-ed25519").string(key.sign(b"junk").to_bytes());
            peer.send(reply.string([9; 32]).string(signature)).await?;
            Ok(peer)
        });
        fails(what, Phase::Kex, config.await).await;
    }
}

async fn logins() {
    // Instead of the acceptance of the service.
    let early: [(&str, Payload); 5] = [
        ("success nobody asked for", Payload::new(number::USERAUTH_SUCCESS)),
        ("a channel before the login", open("session", 0, 1 << 20, 1 << 15)),
        ("half an acceptance", Payload::new(number::SERVICE_ACCEPT).u32(u32::MAX)),
        ("another service", Payload::new(number::SERVICE_ACCEPT).string("ssh-connection")),
        ("extensions without end", Payload::new(number::EXT_INFO).u32(u32::MAX)),
    ];
    for (what, payload) in early {
        let config = serve(move |mut peer| async move {
            peer.receive().await?;
            peer.wait_for(number::SERVICE_REQUEST).await?;
            peer.send(payload).await?;
            Ok(peer)
        });
        fails(what, Phase::Auth, config.await).await;
    }
    // Instead of an answer to the login.
    let late: [(&str, Payload); 8] = [
        ("success with more", Payload::new(number::USERAUTH_SUCCESS).byte(0)),
        ("half a failure", Payload::new(number::USERAUTH_FAILURE).u32(99)),
        ("a failure without a way on", Payload::new(number::USERAUTH_FAILURE).string("").bool(false)),
        ("nonsense for methods", Payload::new(number::USERAUTH_FAILURE).string("\u{1b}[2J,x,y").bool(false)),
        ("half a banner", Payload::new(number::USERAUTH_BANNER).u32(u32::MAX)),
        ("a message of the connection protocol", Payload::new(number::GLOBAL_REQUEST).string("x").bool(true)),
        ("a login", login("alice", "none")),
        ("a disconnect", Payload::new(number::DISCONNECT).u32(u32::MAX).string("\u{1b}[2Jgo").string("")),
    ];
    for (what, payload) in late {
        let config = serve(move |mut peer| async move {
            peer.hear_login().await?;
            peer.send(payload).await?;
            Ok(peer)
        });
        fails(what, Phase::Auth, config.await).await;
    }
}

async fn banners() {
    let config = serve(|mut peer| async move {
        peer.hear_login().await?;
        let banner = Payload::new(number::USERAUTH_BANNER).string("b".repeat(30 << 10)).string("");
        loop {
            peer.send_all((0..8).map(|_| &banner)).await?;
        }
    });
    let config = config.await;
    let memory = Memory::now();
    let error = fails("banners", Phase::Auth, config).await;
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    memory.grew_at_most(32);
}

async fn prompts() {
    let ask = |claimed: u32, real: usize| {
        let start = Payload::new(number::USERAUTH_INFO_REQUEST).string("").string("").string("").u32(claimed);
        start.raw(Payload::default().string("").bool(false).0.repeat(real))
    };
    let cases = [
        ("a million prompts that are not there", ask(1_000_000, 3)),
        ("four billion", ask(u32::MAX, 0)),
        ("as many as fit", ask(50_000, 50_000)),
    ];
    for (what, payload) in cases {
        let config = serve(move |mut peer| async move {
            peer.hear_login().await?;
            loop {
                peer.send(&payload).await?;
                peer.wait_for(number::USERAUTH_INFO_RESPONSE).await?;
            }
        });
        let dialogue =
            KeyboardInteractive::new().prompter(|round: ractor_ssh::auth::PromptRound| async move {
                Some(vec!["x".into(); round.prompts.len()])
            });
        let config = config.await.auth(Auth::new().keyboard_interactive(dialogue));
        fails(what, Phase::Auth, config).await;
    }
}

async fn partial() {
    for partial in [true, false] {
        let config = serve(move |mut peer| async move {
            peer.hear_login().await?;
            loop {
                let methods = "password,publickey,keyboard-interactive,hostbased,x@example.com";
                peer.send(Payload::new(number::USERAUTH_FAILURE).string(methods).bool(partial)).await?;
                peer.wait_for(number::USERAUTH_REQUEST).await?;
            }
        });
        let error = fails("again and again", Phase::Auth, config.await).await;
        assert!(matches!(error, ConnectError::Auth(AuthError::Refused { .. })), "{error}");
    }
}

async fn another_key() {
    let config = serve(|mut peer| async move {
        peer.hear_login().await?;
        let other = Payload::default().string("ssh-ed25519").string([7; 32]);
        for _ in 0..50 {
            peer.send(Payload::new(number::USERAUTH_PK_OK).string("ssh-ed25519").string(&other)).await?;
        }
        Ok(peer)
    });
    let identity = Identity::from_private_key(generate_ed25519());
    let config = config.await.auth(Auth::new().identity(identity));
    fails("another key", Phase::Auth, config).await;
}
