//! Counts what a peer does per second, and tells a busy peer from a flood.

use tokio::time::Instant;

use crate::config::Rate;

/// How much more than allowed ends the connection.
const FLOOD: f64 = 10.0;

/// What to do about one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is within the rate.
    Fine,
    /// It is refused.
    TooMany,
    /// It is refused, and so is everything else of this peer.
    Flood,
}

/// One kind of event of one peer.
#[derive(Debug)]
pub(crate) struct Meter {
    allowed: Bucket,
    /// Ten times as wide.
    endured: Bucket,
}

impl Meter {
    pub(crate) fn new(rate: Rate) -> Self {
        let (per_second, burst) = (f64::from(rate.per_second()), f64::from(rate.burst()));
        Self {
            allowed: Bucket::new(per_second, burst),
            endured: Bucket::new(per_second * FLOOD, burst * FLOOD),
        }
    }

    /// Counts one more.
    pub(crate) fn one_more(&mut self) -> Verdict {
        let now = Instant::now();
        match (self.endured.take(now), self.allowed.take(now)) {
            (false, _) => Verdict::Flood,
            (true, false) => Verdict::TooMany,
            (true, true) => Verdict::Fine,
        }
    }
}

/// Fills at a steady rate up to its size; each event takes one.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    size: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: f64, size: f64) -> Self {
        Self { per_second, size, level: size, at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = passed.mul_add(self.per_second, self.level).min(self.size);
        let full = self.level >= 1.0;
        if full {
            self.level -= 1.0;
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_steady_rate_and_ten_times_as_much_is_a_flood() {
        let mut meter = Meter::new(Rate::new(10, 20));
        let verdicts: Vec<Verdict> = (0..201).map(|_| meter.one_more()).collect();
        assert!(verdicts[..20].iter().all(|verdict| *verdict == Verdict::Fine));
        assert!(verdicts[20..200].iter().all(|verdict| *verdict == Verdict::TooMany));
        assert_eq!(verdicts[200], Verdict::Flood);
        tokio::time::advance(Duration::from_secs(1)).await;
        let verdicts: Vec<Verdict> = (0..11).map(|_| meter.one_more()).collect();
        assert!(verdicts[..10].iter().all(|verdict| *verdict == Verdict::Fine));
        assert_eq!(verdicts[10], Verdict::TooMany);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_keeps_to_the_rate_is_never_refused() {
        let mut meter = Meter::new(Rate::new(100, 1));
        for _ in 0..1000 {
            assert_eq!(meter.one_more(), Verdict::Fine);
            tokio::time::advance(Duration::from_millis(11)).await;
        }
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let mut meter = Meter::new(Rate::unlimited());
        assert!((0..100_000).all(|_| meter.one_more() == Verdict::Fine));
    }
}
