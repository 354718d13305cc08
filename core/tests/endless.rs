//! Files that a remote sends without an end.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use support::{Pile, header, memory_repo};
use treeferry_core::archive::ArchiveRemote;
use treeferry_core::ops::replicate::{ReplicateOptions, replicate};
use treeferry_core::store::ObjectSource;
use treeferry_core::transport::{FetchOptions, Fetched, FetchedFile, RemotePath, Transport};
use treeferry_core::{ErrorKind, Result};

/// A block of deflate that is stored, has nothing in it, and is not the last one.
const NOTHING: [u8; 5] = [0, 0, 0, 0xff, 0xff];
const CHUNK_BYTES: usize = NOTHING.len() * 13_000;

/// An archive whose metadata is right, and whose files do not end, whatever limit is asked for.
#[derive(Debug)]
struct Endless {
    pile: Pile,
    announced_bytes: Option<u64>,
    sent_bytes: Arc<AtomicU64>,
}

#[async_trait]
impl Transport for Endless {
    fn describe(&self, path: &RemotePath) -> String {
        format!("endless:/{path}")
    }

    fn origin(&self) -> &str {
        "endless:"
    }

    async fn fetch(&self, path: &RemotePath, _: FetchOptions) -> Result<Option<Fetched>> {
        let file = |total_bytes, bytes| {
            Ok(Some(Fetched::File(FetchedFile {
                offset: 0,
                total_bytes,
                validator: None,
                bytes,
            })))
        };
        if path.as_str().ends_with(".filez") {
            let sent = Arc::clone(&self.sent_bytes);
            let first = futures::stream::iter([Ok(header(0o644).to_filez(1).into())]);
            let chunks = futures::stream::repeat_with(move || {
                sent.fetch_add(CHUNK_BYTES as u64, Ordering::SeqCst);
                Ok(Bytes::from(NOTHING.repeat(CHUNK_BYTES / NOTHING.len())))
            });
            return file(self.announced_bytes, first.chain(chunks).boxed());
        }
        let Some(bytes) = self.pile.metadata_at(path).await else {
            return Ok(None);
        };
        let total = Some(bytes.len() as u64);
        file(total, futures::stream::iter([Ok(bytes)]).boxed())
    }
}

/// Pulls from an endless archive; returns how much it could send.
async fn sent(announced_bytes: Option<u64>, content_bytes_max: u64, problem: &str) -> u64 {
    let pile = Pile::default();
    let commit = pile.older_commit("one file");
    let sent_bytes = Arc::default();
    let endless = Endless {
        pile,
        announced_bytes,
        sent_bytes: Arc::clone(&sent_bytes),
    };
    let source: Arc<dyn ObjectSource> = Arc::new(ArchiveRemote::new(Arc::new(endless)));
    let mut options = ReplicateOptions::default();
    options.limits.content_bytes_max = content_bytes_max;
    let repo = memory_repo();
    let error = replicate(&[source], &repo, &[commit], &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(problem), "{error}");
    // A limit that is broken is nothing to try again for.
    sent_bytes.load(Ordering::SeqCst)
}

#[tokio::test]
async fn one_that_announces_no_length_ends_at_the_limit() {
    let limit = 1 << 20;
    let sent = sent(None, limit, "limit").await;
    assert!(sent <= limit + 2 * CHUNK_BYTES as u64, "{sent} bytes");
}

#[tokio::test]
async fn one_that_announced_less_ends_there() {
    for announced in [1000, 500_000] {
        let sent = sent(Some(announced), u64::MAX, "longer than").await;
        assert!(sent <= announced + 2 * CHUNK_BYTES as u64, "{sent} bytes");
    }
}
