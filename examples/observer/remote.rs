//! A real host to look at: one managed connection, and a supervised channel for each command.

use std::path::PathBuf;
use std::time::Duration;

use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::observe::Group;
use ractor_ssh::{BoxError, Client, ClientConfig, ManagedRef, ManagedSpec, SupervisedRef};

use crate::demo::{Follow, follow};

/// What runs when no command is given.
const USUAL: [&str; 2] = ["vmstat 1", "while date; do sleep 1; done"];

/// Where to, and with what.
pub(crate) struct Target {
    pub(crate) destination: String,
    pub(crate) port: u16,
    pub(crate) identity: Vec<PathBuf>,
    pub(crate) known_hosts: Option<PathBuf>,
    pub(crate) accept_new: bool,
    pub(crate) commands: Vec<String>,
}

/// The channels there. They end with this value.
pub(crate) struct Remote {
    managed: ManagedRef,
    channels: Vec<SupervisedRef<Follow>>,
}

impl Remote {
    /// Logs in, and starts every command.
    pub(crate) async fn start(target: Target) -> Result<Self, BoxError> {
        let (user, host) = match target.destination.rsplit_once('@') {
            Some((user, host)) => (user.to_owned(), host),
            None => {
                let local = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
                (local.map_err(|_| "no user: give user@host")?, target.destination.as_str())
            }
        };
        let mut auth =
            if target.identity.is_empty() { Auth::usual() } else { Auth::new().agent(AgentMode::Off) };
        for path in &target.identity {
            auth = auth.identity_file(IdentityFile::new(path));
        }
        let files =
            target.known_hosts.map_or_else(KnownHostsFiles::default, |file| KnownHostsFiles::new([file]));
        let host_key =
            if target.accept_new { HostKeyPolicy::accept_new(files) } else { HostKeyPolicy::strict(files) };
        let config = ClientConfig::new(host, user).port(target.port).auth(auth).host_key(host_key);
        let managed = Client::new(config).manage(ManagedSpec::new()).await?;
        // What is wrong with the target is said before the screen is taken over.
        managed.connection().await?;
        let commands = match target.commands {
            commands if commands.is_empty() => USUAL.map(str::to_owned).to_vec(),
            commands => commands,
        };
        let mut channels = Vec::new();
        for line in commands {
            channels.push(managed.supervise(follow(line)).await?);
        }
        Ok(Self { managed, channels })
    }

    /// What is to be looked at.
    pub(crate) fn house(&self) -> Group {
        Group::new("remote").with(self.managed.clone())
    }

    /// Ends the connection.
    pub(crate) async fn stop(self) {
        self.channels.iter().for_each(SupervisedRef::stop);
        self.managed.shutdown(Duration::from_secs(1)).await;
    }
}
