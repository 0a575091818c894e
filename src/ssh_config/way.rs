//! The whole way to a host: the host itself, and the jump hosts before it, each with its own options.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::SshConfig;
use super::apply::{Applied, Start};
use super::asked::Asked;
use super::asking::Asking;
use super::error::{Place, Problem, SshConfigError};
use super::jump::JumpHost;
use super::kinds::Proxy;
use super::options::HostOptions;

/// Jump hosts may have jump hosts; longer chains are taken for a mistake.
const LONGEST: usize = 16;

impl SshConfig {
    /// Looks a host up, and the jump hosts on the way to it, and makes a client's configuration of them all: what
    /// `ssh host` would use. Commands of `Match exec` run if [`Asked::match_exec`] says so.
    ///
    /// As with OpenSSH, each jump host is looked up for itself, by the name, user and port that `ProxyJump` gives. The
    /// first one is reached in its own way, which may have jump hosts of its own; each further one over the one before.
    /// Options given along ([`Asked::option`]) are for the host itself.
    ///
    /// ```no_run
    /// use ractor_ssh::Client;
    /// use ractor_ssh::ssh_config::{Asked, Asking, SshConfig};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = SshConfig::load().await?;
    /// let applied = config.client(&Asked::host("build").option("ConnectTimeout=5"), &Asking::nobody()).await?;
    /// for note in applied.notes() {
    ///     eprintln!("{note}");
    /// }
    /// let connection = Client::new(applied.config).connect().await?;
    /// # drop(connection);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Cancel safe: a command under way is killed.
    ///
    /// # Errors
    /// As [`resolve_running`](Self::resolve_running) and [`HostOptions::client_config`], for every host on the way; a
    /// jump host that would be reached over itself.
    pub async fn client(&self, asked: &Asked, asking: &Asking) -> Result<Applied, SshConfigError> {
        let options = self.resolve_running(asked).await?;
        self.way(options, asked, asking, &[]).await
    }

    /// `before`: the hosts that are to be reached over this one.
    fn way<'a>(
        &'a self,
        options: HostOptions,
        asked: &'a Asked,
        asking: &'a Asking,
        before: &'a [Stop],
    ) -> BoxFuture<'a, Result<Applied, SshConfigError>> {
        async move {
            let Some(Proxy::Jump(jumps)) = options.proxy() else {
                return options.apply(asking, Start::Here);
            };
            let mut applied = options.apply(asking, Start::Elsewhere)?;
            let mut stops = before.to_vec();
            stops.push(Stop::of(&options));
            for (number, jump) in jumps.iter().enumerate() {
                let asked = asked.for_jump(jump);
                let options = self.resolve_running(&asked).await?;
                let stop = Stop::of(&options);
                if stops.contains(&stop) || stops.len() > LONGEST {
                    return Err(round(&applied, jump));
                }
                let hop = if number == 0 {
                    self.way(options, &asked, asking, &stops).await?
                } else {
                    options.apply(asking, Start::Behind)?
                };
                stops.push(stop);
                applied.config = applied.config.jump(hop.config.clone());
                let mut hop = hop;
                applied.hops.append(&mut hop.hops);
                applied.hops.push(hop);
            }
            Ok(applied)
        }
        .boxed()
    }
}

/// What makes a host on the way the same as another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stop {
    host: String,
    port: u16,
    user: String,
}

impl Stop {
    fn of(options: &HostOptions) -> Self {
        Self { host: options.host().to_owned(), port: options.port(), user: options.user().to_owned() }
    }
}

fn round(applied: &Applied, jump: &JumpHost) -> SshConfigError {
    let options = &applied.options;
    let at = options.settings().find(|setting| setting.keyword == "proxyjump");
    let place = at.map_or(Place::Asked, |setting| setting.at.clone());
    let problem = format!("leads over {jump}, which is on this way already, or the way is too long");
    let fix = format!("say `ProxyJump none` for {jump}, or leave it out of the `Host` block");
    Problem::new(&place, "proxyjump", problem, fix).into()
}
