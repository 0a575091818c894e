//! A daemon and a client of it.

use std::time::Duration;

use ractor_ssh::auth::Auth;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ClientConfig, Daemon, DaemonConfig,
    DaemonRef, ExecOutput, Next, Router,
};
use secrecy::{ExposeSecret, SecretString};

pub(crate) const PASSWORD: &str = "correct-horse-battery";
pub(crate) const USER: &str = "alice";

/// Commands say what they were; the subsystem `echo` gives back its input.
pub(crate) async fn daemon() -> DaemonRef {
    let router = Router::new()
        .exec_fn(|request| async move { ExecOutput::ok(request.command().to_string()) })
        .subsystem_fn("echo", |_, stream| async move {
            let (mut input, mut output) = tokio::io::split(stream);
            u32::from(tokio::io::copy(&mut input, &mut output).await.is_err())
        });
    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(generate_ed25519())
        .login_delay(Duration::from_millis(5))
        .password(|_, password| async move { password.expose_secret() == PASSWORD })
        .router(router);
    Daemon::start(config).await.unwrap()
}

pub(crate) fn client(daemon: &DaemonRef, password: &str) -> Client {
    Client::new(
        ClientConfig::new("127.0.0.1", USER)
            .port(daemon.local_addr().port())
            .auth(Auth::new().password(SecretString::from(password)))
            .host_key(HostKeyPolicy::danger_accept_anything()),
    )
}

/// Speaks to `echo`; a message makes it fail.
#[derive(Debug)]
pub(crate) struct Echo;

impl ClientChannel for Echo {
    type Msg = &'static str;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.subsystem("echo").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }

    async fn handle_msg(
        &mut self,
        why: &'static str,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Err(why.into())
    }
}
