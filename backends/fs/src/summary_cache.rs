//! Summaries of remotes that were verified, kept where the C implementation keeps them too.
//!
//! `DIRECTORY/summaries/NAME` and `NAME.sig`: as long as a remote serves the same signature, the
//! summary need not be fetched. The pair is verified each time it is used, so that one which was
//! torn, or planted, is worth nothing and harms nobody.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{METADATA_BYTES_MAX, RemoteName};
use treeferry_core::ops::pull::SummaryCache;
use treeferry_core::pool::Pool;
use treeferry_core::store::SignedSummary;

/// A directory of summaries of remotes.
#[derive(Debug, Clone)]
pub struct SummaryCacheDir {
    summary: PathBuf,
    signature: PathBuf,
    pool: Pool,
}

impl SummaryCacheDir {
    /// Returns the place of the summary of `remote` below `directory`; in a repository that is
    /// `tmp/cache`. It is made when something is kept.
    pub fn new(directory: impl Into<PathBuf>, remote: &RemoteName) -> Self {
        let directory = directory.into().join("summaries");
        Self {
            summary: directory.join(remote.as_str()),
            signature: directory.join(format!("{remote}.sig")),
            pool: Pool::new(1),
        }
    }
}

/// Deletes what is kept below `directory` of remotes that are not among `remotes`. **Blocking.**
pub fn forget_summaries_of_others(directory: &Path, remotes: &[RemoteName]) -> Result<()> {
    let directory = directory.join("summaries");
    let failed = |path: &Path, e| Error::io("what is kept there cannot be deleted", e).about(path);
    let entries = match std::fs::read_dir(&directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| failed(&directory, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed(&directory, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of = |remote: &RemoteName| {
            let rest = name.strip_prefix(remote.as_str());
            // The third is how a file is called that is being written.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if remotes.iter().any(of) {
            continue;
        }
        match std::fs::remove_file(entry.path()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&entry.path(), e));
            }
            _ => {}
        }
    }
    Ok(())
}

#[async_trait]
impl SummaryCache for SummaryCacheDir {
    async fn read(&self) -> Result<Option<SignedSummary>> {
        let cache = self.clone();
        let job = move || {
            let (summary, signature) = (read(&cache.summary)?, read(&cache.signature)?);
            Ok(summary.map(|summary| SignedSummary { summary, signature }))
        };
        self.pool.run(job).await
    }

    async fn write(&self, signed: &SignedSummary) -> Result<()> {
        let (cache, signed) = (self.clone(), signed.clone());
        let job = move || {
            write(&cache.summary, Some(&signed.summary))?;
            write(&cache.signature, signed.signature.as_ref())
        };
        self.pool.run(job).await
    }

    async fn on_invalid(&self, _: &Error) -> Result<()> {
        // Replaced by the next one that verifies.
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<Option<Bytes>> {
    let failed = |e| Error::io("the summary kept there cannot be read", e).about(path.clone());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        // What cannot be a summary is not one.
        Ok(found) if found.len() > METADATA_BYTES_MAX => return Ok(None),
        Ok(_) => {}
    }
    std::fs::read(path)
        .map(|bytes| Some(bytes.into()))
        .map_err(failed)
}

/// Replaces a file. Not synced: what a power cut takes is fetched again.
fn write(path: &PathBuf, bytes: Option<&Bytes>) -> Result<()> {
    let failed = |e| Error::io("the summary cannot be kept there", e).about(path.clone());
    let Some(bytes) = bytes else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        };
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    std::fs::write(&temporary, bytes).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}
