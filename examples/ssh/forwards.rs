//! Ports, sockets, the agent and the display.

use std::time::Duration;

use futures::future::join_all;
use ractor_ssh::auth::AgentForward;
use ractor_ssh::error::ConnectionError;
use ractor_ssh::forward::ForwardHandle;
use ractor_ssh::session::Command;
use ractor_ssh::ssh_config::{AgentForwarding, Forward, HostOptions};
use ractor_ssh::x11::{Display, X11Forward};
use ractor_ssh::{BoxError, ConnectionRef};

use crate::options::Args;

/// How long connections may take for their last bytes when their channels are gone.
const GRACE: Duration = Duration::from_millis(500);

/// Sets up what the command line and the files ask for. As OpenSSH, goes on without those that cannot be had, unless
/// `ExitOnForwardFailure` is set. Those that were set up before an error are in `handles` as well.
pub(crate) async fn set_up(
    conn: &ConnectionRef,
    args: &Args,
    options: &HostOptions,
    handles: &mut Vec<ForwardHandle>,
) -> Result<(), BoxError> {
    let mut wanted = Vec::new();
    for spec in &args.local {
        wanted.push(Forward::local(spec)?);
    }
    for spec in &args.remote {
        wanted.push(Forward::remote(spec)?);
    }
    for spec in &args.dynamic {
        wanted.push(Forward::dynamic(spec)?);
    }
    wanted.extend(options.local_forwards());
    wanted.extend(options.remote_forwards());
    wanted.extend(options.dynamic_forwards());
    for forward in wanted {
        match conn.forward(options.forward(&forward)).await {
            Ok(handle) => {
                if forward.remote && forward.listen.is_port_0() {
                    eprintln!(
                        "Allocated port {} for remote forward",
                        handle.local_addr().port().unwrap_or(0)
                    );
                }
                handles.push(handle);
            }
            Err(error) if options.exit_on_forward_failure() == Some(true) => return Err(error.into()),
            Err(error) => eprintln!("ssh: {error}"),
        }
    }
    Ok(())
}

/// Waits for what the command has left behind, as OpenSSH does: the channels of forwarded connections, those to the agent
/// and to displays, and those that come meanwhile. Clients that have none yet are not waited for.
pub(crate) async fn see_off(conn: &ConnectionRef) -> Result<(), ConnectionError> {
    loop {
        let channels = conn.info().await?.channels;
        if channels.iter().all(|channel| channel.kind == "session") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ends them. What is left of them, such as the file of a socket, is gone then.
pub(crate) async fn end(forwards: &[ForwardHandle]) {
    // A connection's last bytes may still be on their way to it when its channel is gone.
    join_all(forwards.iter().map(|forward| forward.shutdown(GRACE))).await;
}

/// The command with what is lent to it.
pub(crate) fn lend(mut command: Command, args: &Args, options: &HostOptions) -> Command {
    let agent = match options.forward_agent() {
        _ if args.agent => {
            let no_agent = |error| eprintln!("ssh: no agent forwarding: {error}");
            AgentForward::from_env().map_err(no_agent).ok()
        }
        Some(AgentForwarding::Yes) => AgentForward::from_env().ok(),
        Some(AgentForwarding::At(socket)) => Some(AgentForward::at(socket)),
        _ => None,
    };
    if let Some(agent) = agent {
        command = command.forward_agent(agent.best_effort());
    }
    let trusted = args.trusted_x11 || options.forward_x11_trusted() == Some(true);
    if args.x11 || args.trusted_x11 || options.forward_x11() == Some(true) {
        match Display::from_env() {
            Ok(display) if trusted => {
                command = command.forward_x11(X11Forward::trusted(display).best_effort());
            }
            Ok(display) => {
                let mut forward = X11Forward::untrusted(display).best_effort();
                if let Some(limit) = options.forward_x11_timeout() {
                    forward = forward.timeout(limit);
                }
                command = command.forward_x11(forward);
            }
            Err(error) => eprintln!("ssh: no X11 forwarding: {error}"),
        }
    }
    command
}
