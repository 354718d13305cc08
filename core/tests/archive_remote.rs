//! The archive layout over a transport that answers from a table, honestly or not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use treeferry_core::archive::{ArchiveLimits, ArchiveRemote, IfChanged};
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::store::{Body, Incoming, ObjectSource, RefName};
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Resume, Transport, Validator,
};
use treeferry_core::{ErrorKind, Result};

/// How the table answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    #[default]
    Honest,
    /// Announces no length and ignores limits.
    Endless,
    /// Always says that nothing has changed.
    NeverChanged,
    /// Starts elsewhere than asked.
    Shifted,
}

#[derive(Debug, Default)]
struct Table {
    name: &'static str,
    manner: Manner,
    files: HashMap<String, Bytes>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Table {
    fn describe(&self, path: &RemotePath) -> String {
        format!("table://{}/{path}", self.name)
    }

    fn origin(&self) -> &str {
        self.name
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        self.asked.lock().unwrap().push(path.to_string());
        let Some(bytes) = self.files.get(path.as_str()).cloned() else {
            return Ok(None);
        };
        let validator = Validator::ETag(format!("\"{}\"", bytes.len()));
        if self.manner == Manner::NeverChanged || options.unless.as_ref() == Some(&validator) {
            return Ok(Some(Fetched::NotModified));
        }
        let offset = match self.manner {
            Manner::Shifted => 1,
            _ => options.resume.map_or(0, |r| r.offset),
        };
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let total_bytes = (self.manner != Manner::Endless).then_some(bytes.len() as u64);
        let chunks: Vec<_> = rest
            .chunks(7)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes,
            validator: Some(validator),
            bytes: futures::stream::iter(chunks).boxed(),
        })))
    }
}

fn table(name: &'static str, manner: Manner, files: &[(&str, &[u8])]) -> Arc<Table> {
    let files = files
        .iter()
        .map(|(p, b)| (p.to_string(), Bytes::copy_from_slice(b)));
    Arc::new(Table {
        name,
        manner,
        files: files.collect(),
        asked: Mutex::default(),
    })
}

fn remote(manner: Manner, files: &[(&str, &[u8])]) -> ArchiveRemote {
    ArchiveRemote::new(table("t", manner, files))
}

fn object_file(name: &ObjectName, extension: &str) -> String {
    let hex = name.checksum.to_string();
    format!("objects/{}/{}.{extension}", &hex[..2], &hex[2..])
}

fn branch(name: &str) -> RefName {
    RefName::Local(name.parse().unwrap())
}

#[tokio::test]
async fn a_ref_is_read_and_a_missing_one_is_none() {
    let checksum = Checksum::of(b"x");
    let text = format!("{checksum}\n");
    let remote = remote(Manner::Honest, &[("refs/heads/os/stable", text.as_bytes())]);
    assert_eq!(
        remote.read_ref(&branch("os/stable")).await.unwrap(),
        Some(checksum)
    );
    assert_eq!(remote.read_ref(&branch("os/other")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_ref_is_corrupt_and_its_address_is_named() {
    let page = b"<html>It works!</html>".repeat(1000);
    for manner in [Manner::Honest, Manner::Endless] {
        for content in [&b"not a ref"[..], b"", &page] {
            let remote = remote(manner, &[("refs/heads/os", content)]);
            let error = remote.read_ref(&branch("os")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(
                error.to_string().contains("table://t/refs/heads/os"),
                "{error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_arrives_and_verifies() {
    let name = ObjectName::dirtree(Checksum::of(b"some bytes"));
    let remote = remote(
        Manner::Honest,
        &[(&object_file(&name, "dirtree"), b"some bytes")],
    );
    let body = remote.fetch(&name).await.unwrap().unwrap();
    assert!(matches!(body, Body::Metadata(_)));
    let read = move || Incoming::named(name, body).into_metadata().unwrap();
    let (_, bytes) = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(&bytes[..], b"some bytes");
}

#[tokio::test]
async fn metadata_that_announces_too_much_is_refused_before_it_arrives() {
    let name = ObjectName::commit(Checksum::of(b"some bytes"));
    let limits = ArchiveLimits {
        metadata_bytes_max: 9,
        content_bytes_max: None,
    };
    let files = [(&*object_file(&name, "commit"), &b"some bytes"[..])];
    let error = remote(Manner::Honest, &files)
        .limited(limits)
        .fetch(&name)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("10 bytes long, over the limit of 9"),
        "{error}"
    );
    assert!(error.to_string().contains("table://t/objects/"), "{error}");
}

#[tokio::test]
async fn a_summary_that_does_not_end_is_refused_at_the_limit() {
    let limits = ArchiveLimits {
        metadata_bytes_max: 1000,
        content_bytes_max: None,
    };
    let files = [("summary", &[0u8; 1001][..])];
    let remote = remote(Manner::Endless, &files).limited(limits);
    let error = remote.read_summary(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("limit of 1000 bytes"), "{error}");
}

#[tokio::test]
async fn a_summary_that_one_has_is_not_sent_again() {
    let remote = remote(
        Manner::Honest,
        &[("summary", b"abc"), ("summary.sig", b"s")],
    );
    let IfChanged::Changed(first) = remote.read_summary(None).await.unwrap() else {
        panic!("it is there");
    };
    assert_eq!(&first.bytes[..], b"abc");
    let again = remote.read_summary(first.validator.as_ref()).await.unwrap();
    assert_eq!(again, IfChanged::Unchanged);
    let other = Validator::ETag("\"0\"".into());
    let signature = remote.read_summary_signature(Some(&other)).await.unwrap();
    assert_eq!(&signature.into_bytes().unwrap()[..], b"s");
}

#[tokio::test]
async fn answers_that_do_not_fit_the_question_are_refused() {
    let name = ObjectName::file(Checksum::of(b"x"));
    let files = [(&*object_file(&name, "filez"), &b"0123456789"[..])];
    for manner in [Manner::NeverChanged, Manner::Shifted] {
        let error = remote(manner, &files).fetch(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn objects_come_from_the_content_transport_and_what_moves_does_not() {
    let commit = Checksum::of(b"c");
    let name = ObjectName::commit(commit);
    let metadata = table("m", Manner::Honest, &[]);
    let content = table("c", Manner::Honest, &[]);
    let remote = ArchiveRemote::with_content(metadata.clone(), content.clone());
    assert!(remote.fetch(&name).await.unwrap().is_none());
    assert!(
        remote
            .fetch(&ObjectName::file(commit))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(remote.read_detached(&commit).await.unwrap(), None);
    assert_eq!(remote.read_tombstone(&commit).await.unwrap(), None);
    assert_eq!(remote.read_config().await.unwrap(), None);
    assert_eq!(remote.read_ref(&branch("os")).await.unwrap(), None);
    let of = |extension| object_file(&name, extension);
    assert_eq!(*content.asked.lock().unwrap(), [of("commit"), of("filez")]);
    let moving = [
        of("commitmeta"),
        of("tombstone-commit"),
        "config".into(),
        "refs/heads/os".into(),
    ];
    assert_eq!(*metadata.asked.lock().unwrap(), moving);
    assert_eq!(remote.resumable().unwrap().origin(), "c");
}

#[tokio::test]
async fn a_transfer_is_continued_through_the_resumable_view() {
    let name = ObjectName::file(Checksum::of(b"x"));
    let source = remote(
        Manner::Honest,
        &[(&object_file(&name, "filez"), b"0123456789")],
    );
    let source = source.resumable().unwrap();
    let path = source.object_path(&name);
    let resume = Some(Resume {
        offset: 6,
        validator: Validator::ETag("\"10\"".into()),
    });
    let options = FetchOptions {
        resume,
        ..FetchOptions::default()
    };
    let file = source.fetch_file(&path, options).await.unwrap().unwrap();
    assert_eq!((file.offset, file.total_bytes), (6, Some(10)));
    let rest: Vec<Bytes> = file.bytes.map(|chunk| chunk.unwrap()).collect().await;
    assert_eq!(rest.concat(), b"6789");
}

#[tokio::test]
async fn a_remote_cannot_be_asked_what_it_has() {
    let remote = remote(Manner::Honest, &[]);
    let error = remote.stat(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
