//! SELinux labels of what a deployment copies rather than links.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::XattrFlags;
use treeferry_core::error::Result;
use treeferry_core::ops::checkout;
use treeferry_core::ops::labels::Labels;

use crate::files;

const LABEL: &str = "security.selinux";

/// Labels for a checkout of a directory, which will be found at `prefix`.
#[derive(Debug)]
pub(crate) struct Prefixed {
    pub(crate) labels: Arc<Labels>,
    pub(crate) prefix: &'static str,
}

impl checkout::Labels for Prefixed {
    fn label(&self, path: &str, mode: u32) -> Result<Option<Vec<u8>>> {
        let path = match path {
            "/" => self.prefix.to_owned(),
            path => format!("{}{path}", self.prefix),
        };
        Ok(self.labels.lookup(&path, mode)?.map(with_nul))
    }
}

/// The kernel keeps the final NUL.
fn with_nul(label: &str) -> Vec<u8> {
    format!("{label}\0").into_bytes()
}

/// Labels what is below `root` and has no label, as found at `prefix`; returns how many were set.
/// **Blocking.**
pub(crate) fn label_tree(labels: &Labels, root: &Path, prefix: &str) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut set = 0;
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let Some(meta) = files::look(&full)? else {
            continue;
        };
        if meta.is_dir() {
            todo.extend(files::names(&full)?.iter().map(|name| path.join(name)));
        }
        let shown = match path.as_os_str().is_empty() {
            true => prefix.to_owned(),
            false => format!("{}/{}", prefix.trim_end_matches('/'), path.display()),
        };
        let Some(label) = labels.lookup(&shown, meta.mode())? else {
            continue;
        };
        let mut old = [0; 1024];
        if rustix::fs::lgetxattr(&full, LABEL, &mut old[..]).is_ok_and(|length| length > 0) {
            continue;
        }
        rustix::fs::lsetxattr(&full, LABEL, &with_nul(label), XattrFlags::empty())
            .map_err(|e| files::failed(&full, "its label cannot be set")(e.into()))?;
        set += 1;
    }
    Ok(set)
}
