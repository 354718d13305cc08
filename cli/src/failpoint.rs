//! Failing on demand, by the variable that OSTree has for it: what a command leaves behind when it
//! fails at a bad moment, and what the next one makes of that, can be tried out.
//!
//! ```text
//! OSTREE_REPO_TEST_ERROR=pre-commit      when all objects are staged, before any can be seen
//! OSTREE_REPO_TEST_ERROR=invalid-cache   when a summary in the cache does not verify
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use treeferry_core::ops::pull::SummaryCache;
use treeferry_core::ops::replicate::BeforeCommit;
use treeferry_core::store::SignedSummary;
use treeferry_core::{Error, ErrorKind, Result};

use crate::session::Name;

const VARIABLE: &str = "OSTREE_REPO_TEST_ERROR";

/// Returns whether failing at `point` was asked for: only by the name of `ostree`.
fn is_asked_for(name: Name, point: &str) -> bool {
    name == Name::Ostree && std::env::var(VARIABLE).is_ok_and(|value| value == point)
}

fn failure(point: &str) -> Error {
    Error::new(
        ErrorKind::Cancelled,
        format!("{VARIABLE}_{point}: asked to fail here"),
    )
}

/// Returns what fails before objects become visible, if that was asked for.
pub(crate) fn before_commit(name: Name) -> Option<Arc<dyn BeforeCommit>> {
    is_asked_for(name, "pre-commit").then(|| Arc::new(Point) as _)
}

/// Returns `cache` as it is, or one that fails where it would be ignored, if that was asked for.
pub(crate) fn summary_cache(name: Name, cache: Arc<dyn SummaryCache>) -> Arc<dyn SummaryCache> {
    match is_asked_for(name, "invalid-cache") {
        true => Arc::new(Strict(cache)),
        false => cache,
    }
}

#[derive(Debug)]
struct Point;

#[async_trait]
impl BeforeCommit for Point {
    async fn before_commit(&self) -> Result<()> {
        Err(failure("PRE_COMMIT"))
    }
}

#[derive(Debug)]
struct Strict(Arc<dyn SummaryCache>);

#[async_trait]
impl SummaryCache for Strict {
    async fn read(&self) -> Result<Option<SignedSummary>> {
        self.0.read().await
    }

    async fn write(&self, signed: &SignedSummary) -> Result<()> {
        self.0.write(signed).await
    }

    async fn on_invalid(&self, _: &Error) -> Result<()> {
        Err(failure("INVALID_CACHE"))
    }
}
