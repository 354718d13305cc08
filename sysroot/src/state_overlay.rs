//! State overlays: a writable layer over a directory of `/usr` or `/opt` that software insists on
//! writing to. What the layer hides of a new system is removed from it at the first boot of that.

use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, check_file_name};

use crate::files;
use crate::host::{Access, Overlay};
use crate::sysroot::Sysroot;

/// Where layers are kept, below `/var`.
const LAYERS: &str = "ostree/state-overlays";
/// Says which deployment a layer was last mounted over.
const STAMP: &str = "deployment";

impl Sysroot {
    /// Mounts the layer `name`, kept below `var`, over `target`, a directory of the deployment
    /// `commit`. Returns which paths were removed from the layer because the system brings others.
    pub async fn mount_state_overlay(
        &self,
        name: &str,
        target: &Path,
        var: &Path,
        commit: &Checksum,
    ) -> Result<Vec<PathBuf>> {
        check_file_name(name)
            .map_err(|e| Error::invalid("is no name for an overlay").because(e))?;
        let layer = var.join(LAYERS).join(name);
        let (target, commit) = (target.to_owned(), *commit);
        self.run(move |sysroot| {
            let (upper, work, stamp) = (layer.join("upper"), layer.join("work"), layer.join(STAMP));
            for dir in [&upper, &work] {
                files::make_dirs(dir, 0o755)?;
            }
            let mut removed = Vec::new();
            let now = commit.to_string();
            if files::read_text(&stamp)?.as_deref() != Some(now.as_str()) {
                remove_hidden(&target, &upper, &mut removed)?;
                files::replace(&stamp, now.as_bytes(), 0o644)?;
            }
            sysroot.options().host.mounts.overlay(&Overlay {
                lower: target.clone(),
                upper,
                work,
                target,
                access: Access::ReadWrite,
            })?;
            Ok(removed)
        })
        .await
    }
}

/// Removes from `upper` what is also in `lower`, except directories, which are merged.
fn remove_hidden(lower: &Path, upper: &Path, removed: &mut Vec<PathBuf>) -> Result<()> {
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for name in files::names(&upper.join(&dir))? {
            let path = dir.join(name);
            let Some(below) = files::look(&lower.join(&path))? else {
                continue;
            };
            let above = files::look(&upper.join(&path))?;
            if above.is_some_and(|above| above.is_dir()) && below.is_dir() {
                todo.push(path);
            } else {
                files::remove_all(&upper.join(&path))?;
                removed.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_hidden_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "lower/a",
            "lower/d/b",
            "lower/k/x",
            "upper/a",
            "upper/d/b",
            "upper/d/c",
            "upper/k",
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let mut removed = Vec::new();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        remove_hidden(&lower, &upper, &mut removed).unwrap();
        removed.sort();
        assert_eq!(removed, ["a", "d/b", "k"].map(PathBuf::from));
        assert!(upper.join("d/c").exists());
    }
}
