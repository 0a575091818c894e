//! The bench's clients with supervision: a managed connection, and every channel a supervised one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor_ssh::supervision::RestartPolicy;
use ractor_ssh::wire::keys::PrivateKey;
use ractor_ssh::{ChannelSpec, ClientChannel, ManagedRef, ManagedSpec};
use tokio::sync::oneshot;

use crate::load::SshClient;
use crate::ours::{Count, Echo, Idle, Ours, Run, Source, client, expect};
use crate::target::Failure;

/// A managed connection of this crate.
#[derive(Debug, Clone)]
pub(crate) struct Kept(ManagedRef);

impl Kept {
    /// Runs a behaviour under supervision until it has said what it found.
    async fn run<C: ClientChannel, T>(
        &self,
        behaviour: C,
        found: oneshot::Receiver<T>,
    ) -> Result<T, Failure> {
        let behaviour = Mutex::new(Some(behaviour));
        let spec = ChannelSpec::new(move |_| {
            let mut behaviour = behaviour.lock().unwrap_or_else(PoisonError::into_inner);
            #[allow(clippy::expect_used, reason = "a temporary channel is made once")]
            behaviour.take().expect("the first incarnation")
        });
        let channel = self.0.supervise(spec.restart(RestartPolicy::temporary())).await?;
        let found = found.await?;
        drop(channel);
        Ok(found)
    }
}

impl SshClient for Kept {
    async fn connect(port: u16, user: &str, key: &PrivateKey) -> Result<Self, Failure> {
        let managed = client(port, user, key).manage(ManagedSpec::new()).await?;
        managed.connection().await?;
        Ok(Self(managed))
    }

    async fn download(&self, command: String, bytes: u64) -> Result<(), Failure> {
        let (count, total) = Count::new(command);
        expect(self.run(count, total).await?, bytes)
    }

    async fn upload(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        Ours::of(self.0.connection().await?).upload(chunk, bytes).await
    }

    async fn upload_other_way(&self, chunk: usize, bytes: usize) -> Result<(), Failure> {
        let (source, status) = Source::new(chunk, bytes);
        expect(self.run(source, status).await?, 0)
    }

    async fn exec(&self, command: &'static str) -> Result<(), Failure> {
        Ours::of(self.0.connection().await?).exec(command).await
    }

    async fn exec_supervised(&self, command: &'static str) -> Result<(), Failure> {
        let (run, status) = Run::new(command);
        expect(self.run(run, status).await?, 0)
    }

    async fn echo(&self, trips: usize) -> Result<Vec<Duration>, Failure> {
        let (echo, times) = Echo::new(trips);
        self.run(echo, times).await
    }

    async fn idle_channel(&self) -> Result<(), Failure> {
        let channel = self.0.supervise(ChannelSpec::new(|_| Idle)).await?;
        channel.up().await?;
        // Kept for as long as the process lives, as the other clients' are.
        std::mem::forget(Arc::new(channel));
        Ok(())
    }

    async fn close(self) -> Result<(), Failure> {
        self.0.shutdown(Duration::ZERO).await;
        Ok(())
    }
}
