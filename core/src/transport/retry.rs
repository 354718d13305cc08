//! How patiently what failed is tried again.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::{ErrorKind, Result};

/// How often, and how patiently, a failed request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many times after the first.
    pub retries: u32,
    /// The first wait; doubled each time.
    pub wait: Duration,
    /// The longest wait, also where the other side asks for more.
    pub wait_max: Duration,
    /// From which the waits are scattered, so that many clients do not come back at once.
    pub seed: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 5,
            wait: Duration::from_millis(250),
            wait_max: Duration::from_secs(30),
            seed: 0,
        }
    }
}

impl Retry {
    /// Returns how long to wait before try `attempt` (from 1) of the request with that `salt`: not
    /// less than the other side asked for, unless that is longer than the longest wait.
    pub(crate) fn wait_before(&self, attempt: u32, salt: u64, asked: Option<Duration>) -> Duration {
        let doubled = self
            .wait
            .saturating_mul(1 << attempt.saturating_sub(1).min(16))
            .min(self.wait_max);
        let least = asked.unwrap_or(Duration::ZERO).max(doubled / 2);
        // Up to half of it more, by a mix of seed, request and attempt (SplitMix64's finish).
        let mut x = self.seed ^ salt ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((x ^ (x >> 31)) % 1024) as u32;
        (least + doubled / 2 / 1024 * share).min(self.wait_max)
    }
}

/// Does something again while it is merely unavailable.
pub(crate) async fn retrying<'a, T>(
    retry: &Retry,
    once: impl Fn() -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    let mut attempt = 0;
    loop {
        let error = match once().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        attempt += 1;
        let ErrorKind::Unavailable { retry_after } = error.kind() else {
            return Err(error);
        };
        if attempt > retry.retries {
            return Err(error.context(format!("gave up after {attempt} tries")));
        }
        tokio::time::sleep(retry.wait_before(attempt, 0, retry_after)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_asked_nor_longer_than_the_longest() {
        let retry = Retry::default();
        for attempt in 1..40 {
            for salt in 0..50 {
                let wait = |asked| retry.wait_before(attempt, salt, asked);
                let asked = Duration::from_secs(7);
                assert!(wait(Some(asked)) >= asked);
                assert!(wait(None) >= retry.wait / 2);
                let hour = Duration::from_secs(3600);
                assert_eq!(wait(Some(hour)), retry.wait_max);
                assert!(wait(None) <= retry.wait_max);
            }
        }
    }

    #[test]
    fn requests_that_fail_together_come_back_scattered() {
        let waits = |asked| (0..50).map(move |salt| Retry::default().wait_before(3, salt, asked));
        for asked in [None, Some(Duration::from_secs(7))] {
            let different: std::collections::HashSet<_> = waits(asked).collect();
            assert!(different.len() > 40);
        }
    }
}
