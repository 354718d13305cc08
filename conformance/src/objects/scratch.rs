//! Half-done downloads. A place without a scratch passes by saying so.

use std::sync::Arc;

use bytes::Bytes;
use treeferry_core::store::{Payload, Scratch, ScratchContent, ScratchFile};
use treeferry_core::transport::{RemotePath, Validator};

use super::Here;
use crate::{Failed, Outcome, ScratchPlace};

const ORIGIN: &str = "https://example.org/repo";

fn path(text: &str) -> Result<RemotePath, Failed> {
    RemotePath::new(text).map_err(|e| Failed::new(e.to_string()))
}

async fn open(place: Here<'_>) -> Result<Option<Arc<dyn Scratch>>, Failed> {
    Ok(place.open().await?.scratch())
}

fn etag(text: &str) -> Option<Validator> {
    Some(Validator::ETag(format!("\"{text}\"")))
}

async fn received(file: &dyn ScratchFile) -> Result<Vec<u8>, Failed> {
    let payload = match file.open()? {
        ScratchContent::File(file) => Payload::Local(file),
        ScratchContent::Reader(reader) => Payload::Reader(reader),
    };
    let bytes = super::read_payload(payload).await?;
    ensure_eq!(file.received_bytes(), bytes.len() as u64, "the received length");
    Ok(bytes)
}

/// Leaves a download of which `bytes` came.
async fn leave(
    scratch: &dyn Scratch,
    (origin, path): (&str, &RemotePath),
    validator: Option<Validator>,
    bytes: &'static [u8],
) -> Outcome {
    let mut file = scratch.create(origin, path, validator, Some(1000)).await?;
    ensure_eq!(file.received_bytes(), 0, "the received length at the start");
    file.append(Bytes::from_static(bytes)).await?;
    Ok(())
}

async fn take(
    scratch: &dyn Scratch,
    origin: &str,
    path: &RemotePath,
) -> Result<Box<dyn ScratchFile>, Failed> {
    let taken = scratch.take(origin, path).await?;
    taken.ok_or_else(|| Failed::new(format!("what was kept of {path} is gone")))
}

pub(super) async fn the_profile_tells_whether_there_is_a_scratch(place: Here<'_>) -> Outcome {
    let found = match open(place).await? {
        Some(_) => ScratchPlace::Present,
        None => ScratchPlace::Absent,
    };
    ensure_eq!(found, place.profile().scratch, "the scratch");
    Ok(())
}

pub(super) async fn a_kept_download_is_taken_up_by_another_handle(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let path = path("objects/ab/cd.filez")?;
    leave(&*scratch, (ORIGIN, &path), etag("one"), b"the first bytes").await?;
    drop(scratch);
    let Some(second) = open(place).await? else {
        return Err(Failed::new("the second handle has no scratch"));
    };
    let file = take(&*second, ORIGIN, &path).await?;
    ensure_eq!(received(&*file).await?, b"the first bytes".to_vec(), "what was kept");
    Ok(())
}

pub(super) async fn a_kept_download_can_be_continued(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let path = path("objects/ab/cd.filez")?;
    leave(&*scratch, (ORIGIN, &path), etag("one"), b"one ").await?;
    for (piece, so_far) in [(&b"two "[..], &b"one two "[..]), (b"three", b"one two three")] {
        let mut file = take(&*scratch, ORIGIN, &path).await?;
        file.append(Bytes::from_static(piece)).await?;
        ensure_eq!(received(&*file).await?, so_far.to_vec(), "what was received");
    }
    Ok(())
}

pub(super) async fn a_kept_download_keeps_what_is_known_of_it(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let modified = Validator::LastModified("Tue, 01 Oct 2024 10:00:00 GMT".into());
    for (name, validator) in [("a", etag("v 1")), ("b", Some(modified))] {
        let path = path(name)?;
        leave(&*scratch, (ORIGIN, &path), validator.clone(), b"x").await?;
        let file = take(&*scratch, ORIGIN, &path).await?;
        ensure_eq!(file.validator(), validator.as_ref(), "the validator");
        ensure_eq!(file.total_bytes(), Some(1000), "the total length");
        ensure_eq!(file.received_bytes(), 1, "the received length");
    }
    Ok(())
}

pub(super) async fn what_is_unknown_of_a_download_stays_unknown(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let path = path("delta/0")?;
    let mut file = scratch.create(ORIGIN, &path, None, None).await?;
    file.append(Bytes::from_static(b"xy")).await?;
    drop(file);
    let file = take(&*scratch, ORIGIN, &path).await?;
    ensure_eq!(file.validator(), None, "the validator");
    ensure_eq!(file.total_bytes(), None, "the total length");
    Ok(())
}

pub(super) async fn downloads_are_told_apart(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let (a, b) = (path("objects/a")?, path("objects/b")?);
    let other = "https://example.com/repo";
    leave(&*scratch, (ORIGIN, &a), etag("1"), b"a here").await?;
    leave(&*scratch, (other, &a), etag("1"), b"a there").await?;
    let absent = scratch.take(ORIGIN, &b).await?;
    ensure!(absent.is_none(), "something was kept of what was never downloaded");
    let elsewhere = place.another().await?;
    if let Some(elsewhere) = open(&*elsewhere).await? {
        let absent = elsewhere.take(ORIGIN, &a).await?;
        ensure!(absent.is_none(), "places share what they keep");
    }
    for (origin, expected) in [(ORIGIN, &b"a here"[..]), (other, b"a there")] {
        let file = take(&*scratch, origin, &a).await?;
        ensure_eq!(received(&*file).await?, expected.to_vec(), "what was kept");
    }
    Ok(())
}

pub(super) async fn two_downloads_do_not_share_an_entry(place: Here<'_>) -> Outcome {
    let (Some(scratch), Some(second)) = (open(place).await?, open(place).await?) else {
        return Ok(());
    };
    let path = path("objects/a")?;
    leave(&*scratch, (ORIGIN, &path), etag("1"), b"shared?").await?;
    let mut first = take(&*scratch, ORIGIN, &path).await?;
    for handle in [&scratch, &second] {
        let held = handle.take(ORIGIN, &path).await?;
        ensure!(held.is_none(), "an entry was given to two downloads");
    }
    let mut other = second.create(ORIGIN, &path, etag("2"), None).await?;
    other.append(Bytes::from_static(b"other")).await?;
    first.append(Bytes::from_static(b" no")).await?;
    ensure_eq!(received(&*first).await?, b"shared? no".to_vec(), "the first download");
    ensure_eq!(received(&*other).await?, b"other".to_vec(), "the second download");
    Ok(())
}

pub(super) async fn a_download_can_start_over(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let path = path("objects/a")?;
    leave(&*scratch, (ORIGIN, &path), etag("1"), b"of the old version").await?;
    leave(&*scratch, (ORIGIN, &path), etag("2"), b"new").await?;
    let file = take(&*scratch, ORIGIN, &path).await?;
    ensure_eq!(received(&*file).await?, b"new".to_vec(), "what was kept");
    ensure_eq!(file.validator(), etag("2").as_ref(), "the validator");
    Ok(())
}

pub(super) async fn a_discarded_download_is_gone(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    let path = path("objects/a")?;
    leave(&*scratch, (ORIGIN, &path), etag("1"), b"worthless").await?;
    take(&*scratch, ORIGIN, &path).await?.discard().await?;
    let absent = scratch.take(ORIGIN, &path).await?;
    ensure!(absent.is_none(), "a discarded download is still kept");
    ensure_eq!(scratch.kept(ORIGIN).await?, vec![], "the kept downloads");
    Ok(())
}

pub(super) async fn the_kept_downloads_of_an_origin_are_listed(place: Here<'_>) -> Outcome {
    let Some(scratch) = open(place).await? else {
        return Ok(());
    };
    ensure_eq!(scratch.kept(ORIGIN).await?, vec![], "what an empty place keeps");
    let (a, b) = (path("objects/aa/a.filez")?, path("deltas/b/0")?);
    for path in [&a, &b] {
        leave(&*scratch, (ORIGIN, path), etag("1"), b"x").await?;
    }
    let elsewhere = ("file:///other", &path("objects/elsewhere.filez")?);
    leave(&*scratch, elsewhere, etag("1"), b"x").await?;
    let Some(second) = open(place).await? else {
        return Err(Failed::new("the second handle has no scratch"));
    };
    let mut kept = second.kept(ORIGIN).await?;
    kept.sort();
    ensure_eq!(kept, vec![b, a], "the kept downloads");
    Ok(())
}
