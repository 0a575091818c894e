//! Dropping a future of ours loses nothing, disorders nothing, leaks nothing. (Opens, sends and requests that are
//! given up are in their own files too.)

use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::CallError;
use ractor_ssh::ractor::RpcReplyPort;

use crate::kit::{
    Act, Order, Probe, SECOND, assert_alive, assert_clean, closed, info, open, open_window, opening, plain,
    settle, within,
};

#[tokio::test(start_paused = true)]
async fn opens_given_up_at_any_moment_leave_nothing() {
    let (conn, mut peer) = plain().await;
    for moment in 0..6 {
        let open = opening(
            &conn,
            Probe::new().0.on_init(|ctx| {
                let handle = ctx.handle();
                Act::wait(async move { drop(handle.shell().await) })
            }),
        );
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        if moment == 0 {
            // Not even polled: nothing may have been asked for.
            open.abort();
            settle().await;
            assert_eq!(peer.pending_opens(), 0);
            continue;
        }
        let pending = peer.expect_open().await;
        if moment < 3 {
            open.abort();
        }
        settle().await;
        let mut there = pending.confirm();
        settle().await;
        open.abort();
        settle().await;
        if moment >= 3 {
            there.expect_request("shell").await;
            there.reply(true);
        }
        there.expect_close().await;
        there.close();
    }
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_given_up_after_the_channel_was_opened_but_before_it_was_taken_is_closed() {
    let (conn, mut peer) = plain().await;
    let opening = conn.session_channel(Probe::new().0);
    let mut opening = Box::pin(opening);
    assert!(futures_poll(opening.as_mut()).is_none());
    let mut there = peer.expect_open().await.confirm();
    settle().await;
    // The answer is there, and nobody has looked at it.
    drop(opening);
    there.expect_close().await;
    there.close();
    assert_clean(&conn, &peer).await;
}

/// Polls once.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_dropped_in_any_state_is_all_or_nothing() {
    let (conn, mut peer) = plain().await;
    let options = ChannelOptions::new().high_water(1);
    let mut channel = open_window(&conn, &mut peer, options, (0, 100)).await;
    let mut taken = Vec::new();
    for n in 0..50u8 {
        let piece = vec![n; 5];
        let mut send = Box::pin(channel.here.send(piece.clone()));
        match futures_poll(send.as_mut()) {
            Some(sent) => {
                sent.unwrap();
                taken.extend(piece);
            }
            None => {
                if n % 2 == 0 {
                    channel.there.adjust_window(5);
                    settle().await;
                }
                drop(send);
            }
        }
    }
    channel.there.adjust_window(1000);
    assert!(!taken.is_empty());
    assert_eq!(channel.there.expect_bytes(taken.len()).await, taken);
    settle().await;
    assert_eq!(channel.there.try_next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_flush_given_up_changes_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open_window(&conn, &mut peer, ChannelOptions::new(), (0, 100)).await;
    channel.here.send("data").await.unwrap();
    let handle = channel.here.clone();
    let flush = tokio::spawn(async move { handle.flush().await });
    settle().await;
    flush.abort();
    channel.there.adjust_window(100);
    assert_eq!(channel.there.expect_data().await, "data");
    within(SECOND, channel.here.flush()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_is_still_handled() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    let call = |answer: u32| {
        move |port: RpcReplyPort<u32>| {
            Order::new(move |_| {
                Act::wait(async move {
                    tokio::time::sleep(2 * SECOND).await;
                    let _ = port.send(answer);
                })
            })
        }
    };
    let given_up = channel.here.call(call(1), SECOND).await;
    assert!(matches!(given_up, Err(CallError::Timeout { after }) if after == SECOND));
    assert_eq!(channel.here.call(call(2), 10 * SECOND).await.unwrap(), 2);
    let dropped = channel.here.call(|_port: RpcReplyPort<u32>| Order::new(|_| Act::Go), SECOND);
    assert!(matches!(dropped.await, Err(CallError::NoReply)));
    settle().await;
    assert_eq!(channel.events.so_far().len(), 4, "init and three orders");
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_channel_that_ends_meanwhile_says_so() {
    let (conn, mut peer) = plain().await;
    let channel = open(&conn, &mut peer).await;
    let handle = channel.here.clone();
    let call = tokio::spawn(async move {
        handle
            .call(
                |port: RpcReplyPort<u32>| {
                    Order::new(move |_| {
                        Act::wait(async move {
                            std::future::pending::<()>().await;
                            drop(port);
                        })
                    })
                },
                60 * SECOND,
            )
            .await
    });
    settle().await;
    channel.here.kill();
    assert!(matches!(within(SECOND, call).await.unwrap(), Err(CallError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn waits_and_infos_given_up_change_nothing() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    for _ in 0..10 {
        let mut wait = Box::pin(channel.here.wait());
        assert!(futures_poll(wait.as_mut()).is_none());
        let mut info = Box::pin(conn.info());
        assert!(futures_poll(info.as_mut()).is_none());
        let mut closed = Box::pin(conn.closed());
        assert!(futures_poll(closed.as_mut()).is_none());
    }
    assert_alive(&mut channel).await;
    channel.there.close();
    closed(&mut channel).await;
    assert!(channel.here.wait().await.is_normal());
    assert_clean(&conn, &peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_rekey_given_up_goes_on_and_the_next_one_joins_it() {
    let (conn, mut peer) = plain().await;
    let mut channel = open(&conn, &mut peer).await;
    peer.answer_rekeys(false);
    let other = conn.clone();
    let given_up = tokio::spawn(async move { other.rekey().await });
    settle().await;
    given_up.abort();
    let other = conn.clone();
    let joins = tokio::spawn(async move { other.rekey().await });
    settle().await;
    assert_eq!(peer.rekeys(), 1);
    peer.answer_rekeys(true);
    within(SECOND, joins).await.unwrap().unwrap();
    assert_eq!(info(&conn).await.counters.rekeys, 1);
    assert_alive(&mut channel).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_or_shutdown_given_up_goes_on() {
    for abrupt in [true, false] {
        let (conn, mut peer) = plain().await;
        let mut channel = open(&conn, &mut peer).await;
        let other = conn.clone();
        let task =
            tokio::spawn(
                async move { if abrupt { other.close().await } else { other.shutdown(SECOND).await } },
            );
        settle().await;
        task.abort();
        within(12 * SECOND, conn.closed()).await;
        closed(&mut channel).await;
        peer.expect_disconnect().await;
    }
}
