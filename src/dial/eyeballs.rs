//! Which of a name's addresses is tried when (RFC 8305, "happy eyeballs").

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Duration, sleep};

use super::error::DialError;
use super::tcp::TcpOptions;

/// Connects to the first address of a name that answers.
pub(super) async fn connect(options: &TcpOptions, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let found = lookup_host((host, port))
        .await
        .map_err(|source| DialError::Lookup { host: host.to_owned(), source })?
        .filter(|address| options.takes(address));
    let addresses = alternate(found);
    if addresses.is_empty() {
        return Err(DialError::NoAddress { host: host.to_owned(), wanted: options.wanted() });
    }
    race(addresses, options.attempt_delay, |address| options.connect(address))
        .await
        .map_err(|attempts| DialError::Tcp { attempts })
}

/// As [`connect`] with options that change nothing, for the destination of a forwarded connection.
pub(crate) async fn connect_plainly(host: &str, port: u16) -> io::Result<TcpStream> {
    connect(&TcpOptions::new(), host, port).await.map_err(|error| match error {
        DialError::Lookup { source, .. } => source,
        DialError::Tcp { attempts } => attempts
            .into_iter()
            .next_back()
            .map_or_else(|| io::ErrorKind::NotFound.into(), |(_, error)| error),
        other => io::Error::other(other),
    })
}

/// The system's order (RFC 6724), with the families alternating, beginning with that of the first (section 4).
fn alternate(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let (mut same, mut other) = (VecDeque::new(), VecDeque::new());
    let mut first = None;
    for address in found {
        let family = *first.get_or_insert(address.is_ipv4());
        let list = if address.is_ipv4() == family { &mut same } else { &mut other };
        if !list.contains(&address) {
            list.push_back(address);
        }
    }
    let mut all = VecDeque::with_capacity(same.len() + other.len());
    while !same.is_empty() || !other.is_empty() {
        all.extend(same.pop_front());
        all.extend(other.pop_front());
    }
    all
}

/// Starts an attempt for each address: when the one started last has failed, or `delay` after it. The first success
/// counts; what is under way then is dropped.
async fn race<T, F>(
    mut addresses: VecDeque<SocketAddr>,
    delay: Duration,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut running = FuturesUnordered::new();
    let mut failed = Vec::new();
    while let Some(address) = addresses.pop_front() {
        let attempt = attempt(address);
        running.push(async move { (address, attempt.await) });
        let pause = sleep(delay);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some((tried, result)) = running.next() => match result {
                    Ok(stream) => return Ok(stream),
                    Err(error) => {
                        failed.push((tried, error));
                        // Only the failure of the newest one starts the next before its time.
                        if tried == address || running.is_empty() {
                            break;
                        }
                    }
                },
                () = &mut pause => break,
            }
        }
    }
    while let Some((tried, result)) = running.next().await {
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => failed.push((tried, error)),
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    const V6: [&str; 3] = ["[2001:db8::1]:22", "[2001:db8::2]:22", "[2001:db8::3]:22"];
    const V4: [&str; 2] = ["192.0.2.1:22", "192.0.2.2:22"];

    #[test]
    fn families_alternate_from_the_systems_first() {
        let given = [V6[0], V6[1], V6[2], V4[0], V4[1], V4[0]].map(address);
        let order: Vec<_> = alternate(given.into_iter()).into();
        assert_eq!(order, [V6[0], V4[0], V6[1], V4[1], V6[2]].map(address));
    }

    async fn raced(
        plan: &[(&str, u64, bool)],
    ) -> (Result<SocketAddr, Vec<SocketAddr>>, Vec<(SocketAddr, Duration)>, Duration) {
        let begin = Instant::now();
        let mut started = Vec::new();
        let addresses = plan.iter().map(|(text, ..)| address(text)).collect();
        let result = race(addresses, Duration::from_millis(250), |to| {
            started.push((to, begin.elapsed()));
            let (_, after, works) = *plan.iter().find(|(text, ..)| address(text) == to).unwrap();
            async move {
                sleep(Duration::from_millis(after)).await;
                if works { Ok(to) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
            }
        })
        .await
        .map_err(|failed| failed.into_iter().map(|(tried, _)| tried).collect());
        (result, started, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_one_delay() {
        let (result, started, took) = raced(&[(V6[0], 1_000_000, false), (V4[0], 10, true)]).await;
        assert_eq!(result, Ok(address(V4[0])));
        assert_eq!(started.len(), 2);
        assert_eq!(took, Duration::from_millis(260));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_starts_the_next_at_once() {
        let (result, _, took) = raced(&[(V6[0], 5, false), (V4[0], 5, false), (V6[1], 5, true)]).await;
        assert_eq!(result, Ok(address(V6[1])));
        assert_eq!(took, Duration::from_millis(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_of_an_earlier_address_still_counts() {
        let (result, started, took) =
            raced(&[(V6[0], 600, true), (V4[0], 5000, true), (V6[1], 5000, true)]).await;
        assert_eq!(result, Ok(address(V6[0])));
        assert_eq!(took, Duration::from_millis(600));
        let times: Vec<_> = started.iter().map(|(_, at)| at.as_millis()).collect();
        assert_eq!(times, [0, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_of_an_older_attempt_does_not_hurry_the_next() {
        let (_, started, _) = raced(&[(V6[0], 300, false), (V4[0], 900, true), (V6[1], 900, true)]).await;
        let times: Vec<_> = started.iter().map(|(_, at)| at.as_millis()).collect();
        assert_eq!(times, [0, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_every_error_is_told() {
        let (result, ..) = raced(&[(V6[0], 400, false), (V4[0], 5, false)]).await;
        assert_eq!(result, Err([V4[0], V6[0]].map(address).to_vec()));
    }
}
