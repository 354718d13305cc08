//! Short metadata over a line that never carries all of it at once.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use support::{Pile, memory_repo};
use treeferry_core::archive::ArchiveRemote;
use treeferry_core::format::ObjectName;
use treeferry_core::ops::replicate::{ReplicateOptions, Scope, replicate};
use treeferry_core::store::ObjectSource;
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Transport, Validator,
};
use treeferry_core::{Error, ErrorKind, Result};

/// An archive that sends a few bytes a request, and then breaks off.
#[derive(Debug)]
struct Dribble {
    pile: Pile,
    bytes_a_request: usize,
    /// The version that a request is answered with; the last one for all that follow.
    versions: Mutex<Vec<&'static str>>,
    sent_bytes: Arc<AtomicU64>,
}

impl Dribble {
    fn version(&self) -> Validator {
        let mut versions = self.versions.lock().unwrap();
        let version = match versions.len() {
            1 => versions[0],
            _ => versions.remove(0),
        };
        Validator::ETag(version.to_owned())
    }
}

#[async_trait]
impl Transport for Dribble {
    fn describe(&self, path: &RemotePath) -> String {
        format!("dribble:/{path}")
    }

    fn origin(&self) -> &str {
        "dribble:"
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let Some(all) = self.pile.metadata_at(path).await else {
            return Ok(None);
        };
        let validator = self.version();
        let resume = options.resume.filter(|from| from.validator == validator);
        let offset = resume.map_or(0, |from| from.offset);
        let total_bytes = all.len() as u64;
        let rest = all.slice(usize::try_from(offset).unwrap()..);
        let some = rest.slice(..rest.len().min(self.bytes_a_request));
        self.sent_bytes
            .fetch_add(some.len() as u64, Ordering::SeqCst);
        let is_all = some.len() == rest.len();
        let broke = ErrorKind::Unavailable { retry_after: None };
        let end = (!is_all).then(|| Err(Error::new(broke, "the line broke")));
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes: Some(total_bytes),
            validator: Some(validator),
            bytes: futures::stream::iter([Ok(some)].into_iter().chain(end)).boxed(),
        })))
    }
}

/// Fetches a commit object of `total` bytes so; returns how it ended, `total`, and how much was sent.
async fn fetch(bytes_a_request: usize, versions: &[&'static str]) -> (Result<()>, u64, u64) {
    let pile = Pile::default();
    let commit = pile.older_commit("one file");
    let name = ObjectName::commit(commit);
    let sent_bytes = Arc::default();
    let dribble = Dribble {
        pile,
        bytes_a_request,
        versions: Mutex::new(versions.to_vec()),
        sent_bytes: Arc::clone(&sent_bytes),
    };
    let hex = commit.to_string();
    let path = format!("objects/{}/{}.commit", &hex[..2], &hex[2..]);
    let path = RemotePath::new(&path).unwrap();
    let total = dribble.pile.metadata_at(&path).await.unwrap().len() as u64;
    let source: Arc<dyn ObjectSource> = Arc::new(ArchiveRemote::new(Arc::new(dribble)));
    let mut options = ReplicateOptions::default();
    options.scope = Scope::CommitMetadataOnly;
    options.retry.retries = 2;
    options.retry.wait = Duration::from_millis(1);
    let repo = memory_repo();
    let outcome = replicate(&[source], &repo, &[commit], &options).await;
    if outcome.is_ok() {
        let found = repo.objects().stat(&[name]).await.unwrap();
        assert!(found[0].is_some());
    }
    (outcome.map(drop), total, sent_bytes.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_gets_ahead_arrives_and_little_comes_twice() {
    // More requests than there are retries: each gets ahead. What the first one brought is not kept,
    // for few break.
    for bytes_a_request in [5, 20] {
        let (outcome, total, sent) = fetch(bytes_a_request, &["\"1\""]).await;
        outcome.unwrap();
        assert!(total > 3 * bytes_a_request as u64);
        assert_eq!(sent, total + bytes_a_request as u64);
    }
}

#[tokio::test]
async fn what_does_not_get_ahead_is_given_up() {
    let (outcome, _, sent) = fetch(0, &["\"1\""]).await;
    assert!(matches!(
        outcome.unwrap_err().kind(),
        ErrorKind::Unavailable { .. }
    ));
    assert_eq!(sent, 0);
}

#[tokio::test]
async fn another_version_starts_over() {
    let versions = ["\"1\"", "\"1\"", "\"1\"", "\"2\""];
    let (outcome, total, sent) = fetch(20, &versions).await;
    outcome.unwrap();
    assert_eq!(sent, total + 3 * 20);
}
