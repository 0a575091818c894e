//! The bench's clients with plain russh, as its users write them, with its faster calls where it has them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor_ssh::wire::keys::PrivateKey;
use russh::client::{self, Config, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, cipher};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use crate::load::SshClient;
use crate::target::Failure;

/// A connection of russh.
#[derive(Clone)]
pub(crate) struct Plain {
    handle: Arc<Handle<Trusting>>,
    idle: Arc<Mutex<Vec<Channel<Msg>>>>,
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl SshClient for Plain {
    async fn connect(port: u16, user: &str, key: &PrivateKey) -> Result<Self, Failure> {
        let config = Config {
            nodelay: true,
            preferred: Preferred { cipher: Cow::Borrowed(&[cipher::AES_256_GCM]), ..Preferred::default() },
            ..Config::default()
        };
        let mut handle = client::connect(Arc::new(config), ("127.0.0.1", port), Trusting).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
        if !handle.authenticate_publickey(user, key).await?.success() {
            return Err("the server refused the key".into());
        }
        Ok(Self { handle: Arc::new(handle), idle: Arc::default() })
    }

    async fn download(&self, command: String, bytes: u64) -> Result<(), Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        let mut got = 0;
        while let Some(msg) = channel.wait().await {
            if let ChannelMsg::Data { data } = msg {
                got += data.len() as u64;
            }
        }
        if got == bytes { Ok(()) } else { Err(format!("got {got} bytes instead of {bytes}").into()) }
    }

    async fn upload(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, "cat >/dev/null").await?;
        let block = Bytes::from(vec![0; chunk]);
        for _ in 0..bytes / chunk {
            channel.data_bytes(block.clone()).await?;
        }
        channel.eof().await?;
        status(&mut channel).await
    }

    async fn upload_other_way(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, "cat >/dev/null").await?;
        let block = vec![0; chunk];
        let mut writer = channel.make_writer();
        for _ in 0..bytes / chunk {
            writer.write_all(&block).await?;
        }
        writer.shutdown().await?;
        status(&mut channel).await
    }

    async fn exec(&self, command: &'static str) -> Result<(), Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        status(&mut channel).await
    }

    async fn echo(&self, trips: usize) -> Result<Vec<Duration>, Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, "cat").await?;
        while !matches!(channel.wait().await, Some(ChannelMsg::Success)) {}
        let byte = Bytes::from_static(b"x");
        let mut times = Vec::with_capacity(trips);
        while times.len() < trips {
            let sent = Instant::now();
            channel.data_bytes(byte.clone()).await?;
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Data { .. }) => break,
                    Some(_) => {}
                    None => return Err("the channel has ended".into()),
                }
            }
            times.push(sent.elapsed());
        }
        channel.close().await?;
        Ok(times)
    }

    async fn idle_channel(&self) -> Result<(), Failure> {
        let channel = self.handle.channel_open_session().await?;
        self.idle.lock().await.push(channel);
        Ok(())
    }

    async fn close(self) -> Result<(), Failure> {
        self.handle.disconnect(Disconnect::ByApplication, "", "").await?;
        if let Some(handle) = Arc::into_inner(self.handle) {
            let _ = handle.await;
        }
        Ok(())
    }
}

impl Plain {
    /// An idle channel with a task of its own that waits for what comes.
    pub(crate) async fn idle_task(&self) -> Result<(), Failure> {
        let mut channel = self.handle.channel_open_session().await?;
        tokio::spawn(async move { while channel.wait().await.is_some() {} });
        Ok(())
    }
}

/// The status of a command, once its channel is closed.
async fn status(channel: &mut Channel<Msg>) -> Result<(), Failure> {
    let mut status = None;
    while let Some(msg) = channel.wait().await {
        if let ChannelMsg::ExitStatus { exit_status } = msg {
            status = Some(exit_status);
        }
    }
    match status {
        Some(0) => Ok(()),
        other => Err(format!("the command's status is {other:?}").into()),
    }
}
