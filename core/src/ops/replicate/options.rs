//! What to replicate, and within which limits.

use std::sync::Arc;
use std::time::Duration;

use super::gate::{BeforeCommit, CommitGate};

use crate::format::{METADATA_BYTES_MAX, TREE_DEPTH_MAX};
use crate::repo::{Depth, Progress};
use crate::store::Durability;

/// How to replicate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplicateOptions {
    /// How many parents of each commit come along.
    pub depth: Depth,
    /// How much of each commit.
    pub scope: Scope,
    /// Which files are refused.
    pub files: FilePolicy,
    /// What bounds a hostile remote.
    pub limits: Limits,
    /// How often, and how patiently, a failed request is tried again.
    pub retry: Retry,
    /// The most requests under way at once. Each may hold some hundred KiB in memory.
    pub requests_max: usize,
    /// How durability is bought.
    pub durability: Durability,
    /// Who decides whether a commit may come in.
    pub gate: Option<Arc<dyn CommitGate>>,
    /// What has to happen when all is stored, and nothing is visible yet.
    pub before_commit: Option<Arc<dyn BeforeCommit>>,
    /// Who listens.
    pub progress: Progress,
}

impl Default for ReplicateOptions {
    fn default() -> Self {
        Self {
            depth: Depth::Parents(0),
            scope: Scope::Everything,
            files: FilePolicy::Any,
            limits: Limits::default(),
            retry: Retry::default(),
            requests_max: 24,
            durability: Durability::Configured,
            gate: None,
            before_commit: None,
            progress: Progress::default(),
        }
    }
}

/// How much of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of its tree.
    #[default]
    Everything,
    /// The commit object and its detached metadata; the commit stays marked partial.
    CommitMetadataOnly,
    /// What is at these paths, and the directories on the way; the commit stays marked partial.
    Subpaths(Vec<String>),
}

/// Which files are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FilePolicy {
    /// None.
    #[default]
    Any,
    /// Regular files with mode bits outside of 0775: set-user-id, world-writable and so on.
    BareUserOnly,
}

/// What bounds a hostile remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest metadata object, bytes.
    pub metadata_bytes_max: u64,
    /// The longest file as it is transferred, bytes.
    pub content_bytes_max: u64,
    /// How deep directories may be nested.
    pub tree_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_bytes_max: METADATA_BYTES_MAX,
            content_bytes_max: u64::MAX,
            tree_depth_max: TREE_DEPTH_MAX,
        }
    }
}

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
