//! The summary and its signature: two files that are one value.
//!
//! A third says which belong together: it is written first, then the signature, then the summary, each
//! only if it still is what was read before; who meets another writer starts over, so that the last
//! one's three files are there in the end. Who reads two files that do not belong together waits a
//! moment and reads again. Where the third is missing, or stays at odds with two files that do not
//! change, another implementation wrote them: they are taken as they are. Where it is at odds with one of
//! the two alone, somebody is between the two, and may be for long on a machine that does much else.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::Place;
use crate::archive::FileVersion;
use crate::archive::layout::{SUMMARY_PAIR_PATH, SUMMARY_PATH, SUMMARY_SIGNATURE_PATH, fixed_path};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::Checksum;
use crate::store::SignedSummary;
use crate::transport::{Precondition, PutAnswer, RemotePath};

/// How often a summary is written while others write it.
const WRITES_MAX: usize = 64;

/// How often a summary that is being written is read.
const READS_MAX: u32 = 100;

/// How long two files that do not belong together must stay the same to be taken as they are.
const SETTLED: Duration = Duration::from_millis(400);
/// How long if one of the two is what it should be: whoever writes them was stopped in between if it
/// takes longer.
const HALF_SETTLED: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The three files, in the order in which they are written.
struct Files {
    pair: Option<FileVersion>,
    signature: Option<FileVersion>,
    summary: Option<FileVersion>,
}

impl Files {
    fn value(&self) -> Option<SignedSummary> {
        let summary = self.summary.as_ref()?.bytes.clone();
        let signature = self.signature.as_ref().map(|file| file.bytes.clone());
        Some(SignedSummary { summary, signature })
    }

    /// Returns how long the two have to stay as they are to be taken.
    fn settled(&self) -> Duration {
        let Some(said) = &self.pair else {
            return Duration::ZERO;
        };
        let found = pair_of(self.value().as_ref());
        let halves = |pair: &Bytes| -> Vec<Bytes> {
            let halves = pair.split(|byte| byte.is_ascii_whitespace());
            halves.map(Bytes::copy_from_slice).collect()
        };
        let (said, found) = (halves(&said.bytes), halves(&found));
        let same = |half: usize| said.get(half) == found.get(half);
        match (same(0), same(1)) {
            (true, true) => Duration::ZERO,
            // Without a signature there is nothing that it could belong to.
            (false, true) if self.signature.is_none() => Duration::ZERO,
            (false, false) => SETTLED,
            _ => HALF_SETTLED,
        }
    }
}

/// Returns what says that a summary and its signature belong together.
fn pair_of(summary: Option<&SignedSummary>) -> Bytes {
    let none = || "-".to_owned();
    let summary_text = summary.map_or_else(none, |s| Checksum::of(&s.summary).to_string());
    let signature = summary.and_then(|s| s.signature.as_ref());
    let signature_text = signature.map_or_else(none, |s| Checksum::of(s).to_string());
    format!("{summary_text} {signature_text}\n").into()
}

impl Place {
    async fn read_summary_files(&self) -> Result<Files> {
        Ok(Files {
            pair: self.read_metadata(&fixed_path(SUMMARY_PAIR_PATH)).await?,
            summary: self.read_metadata(&fixed_path(SUMMARY_PATH)).await?,
            signature: self
                .read_metadata(&fixed_path(SUMMARY_SIGNATURE_PATH))
                .await?,
        })
    }

    pub(super) async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        let (mut pause, mut unchanged_for) = (PAUSE, Duration::ZERO);
        let mut before = None;
        for _ in 0..READS_MAX {
            let files = self.read_summary_files().await?;
            let value = files.value();
            if before.as_ref() != Some(&value) {
                unchanged_for = Duration::ZERO;
                before = Some(value.clone());
            }
            if unchanged_for >= files.settled() {
                return Ok(value);
            }
            sleep(pause).await;
            unchanged_for += pause;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let problem = "the summary keeps changing while it is read: try again";
        Err(self.summary_error(problem))
    }

    fn summary_error(&self, problem: &'static str) -> Error {
        let kind = ErrorKind::Unavailable { retry_after: None };
        let path = fixed_path(SUMMARY_PATH);
        Error::new(kind, problem).about(Subject::Url(self.transport.describe(&path)))
    }

    pub(super) async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        for _ in 0..WRITES_MAX {
            let before = self.read_summary_files().await?;
            if self.try_write_summary(&before, summary.as_ref()).await? {
                return Ok(());
            }
        }
        Err(self.summary_error("others keep writing the summary: try again"))
    }

    /// Writes the three files over what was read; `false` when another wrote in between.
    async fn try_write_summary(
        &self,
        before: &Files,
        summary: Option<&SignedSummary>,
    ) -> Result<bool> {
        let pair = Some(pair_of(summary));
        let signature = summary.and_then(|summary| summary.signature.clone());
        let bytes = summary.map(|summary| summary.summary.clone());
        let signature = (SUMMARY_SIGNATURE_PATH, &before.signature, signature);
        let bytes = (SUMMARY_PATH, &before.summary, bytes);
        // A summary without its signature is an unsigned one, which is believed by those who do not
        // verify; a signature without its summary is nothing.
        let order = match summary {
            Some(_) => [(SUMMARY_PAIR_PATH, &before.pair, pair), signature, bytes],
            None => [(SUMMARY_PAIR_PATH, &before.pair, pair), bytes, signature],
        };
        for (path, before, new) in order {
            if !self
                .replace(&fixed_path(path), before.as_ref(), new)
                .await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn replace(
        &self,
        path: &RemotePath,
        before: Option<&FileVersion>,
        new: Option<Bytes>,
    ) -> Result<bool> {
        let Some(new) = new else {
            if before.is_some() {
                self.set(path, None).await?;
            }
            return Ok(true);
        };
        let unchanged: Precondition = self.unchanged(path, before)?;
        let answer = self.write_if(path, unchanged, new).await?;
        Ok(matches!(answer, PutAnswer::Done { .. }))
    }
}
