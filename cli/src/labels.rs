//! SELinux policies that the command line names.

use std::path::Path;
use std::sync::Arc;

use treeferry_core::ops::checkout;
use treeferry_core::ops::labels::{LabelingEpoch, Labels};
use treeferry_core::repo::Repo;

use crate::failure::{Failure, Result};

/// Reads the policy of a system whose root is at `path`; `None` when it has none.
pub(crate) async fn of_directory(repo: &Repo, path: &Path) -> Result<Option<Labels>> {
    let path = path.to_owned();
    let read = repo.pool().run(move || Labels::read_directory(&path));
    Ok(read.await?)
}

/// Reads how paths are looked up, a number.
pub(crate) fn epoch(number: u32) -> Result<LabelingEpoch> {
    match number {
        0 => Ok(LabelingEpoch::AsIs),
        1 => Ok(LabelingEpoch::UsrEtcAsEtc),
        _ => Err(Failure::new(format!(
            "unknown SELinux labeling epoch {number}: expected 0 or 1"
        ))),
    }
}

/// Labels for a checkout, whose paths are looked up below a prefix.
#[derive(Debug)]
pub(crate) struct Prefixed {
    labels: Labels,
    prefix: String,
}

impl Prefixed {
    /// Reads the policy of a system whose root is at `path`; it must have one.
    pub(crate) async fn read(
        repo: &Repo,
        path: &Path,
        prefix: Option<&str>,
    ) -> Result<Arc<dyn checkout::Labels>> {
        let labels = of_directory(repo, path)
            .await?
            .ok_or_else(|| Failure::new(format!("{}: has no SELinux policy", path.display())))?;
        let prefix = prefix.unwrap_or_default().trim_end_matches('/').to_owned();
        Ok(Arc::new(Self { labels, prefix }))
    }
}

impl checkout::Labels for Prefixed {
    fn label(&self, path: &str, mode: u32) -> treeferry_core::Result<Option<Vec<u8>>> {
        let full_path = match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "/") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}{path}"),
        };
        let label = self.labels.lookup(&full_path, mode)?;
        // Without the final NUL of a recorded label, as OSTree sets it: SELinux takes both.
        Ok(label.map(|label| label.as_bytes().to_vec()))
    }
}
