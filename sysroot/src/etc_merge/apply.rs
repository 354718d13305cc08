//! Carries a merge out.

use std::fs;
use std::path::{Path, PathBuf};

use treeferry_core::error::Result;

use super::plan::Action;
use crate::files::{self, failed};

/// Carries `actions` out: `mine` is what is there now, `new` what the new system ships, `to` a copy
/// of that. Returns what was left behind. **Blocking.**
pub(crate) fn apply(
    actions: &[Action],
    mine: &Path,
    new: &Path,
    to: &Path,
) -> Result<Vec<PathBuf>> {
    let mut left_out = Vec::new();
    for action in actions {
        match action {
            Action::Remove(path) => files::remove_all(&to.join(path))?,
            Action::Dir(path) => {
                let (from, to) = (mine.join(path), to.join(path));
                if files::look(&to)?.is_none() {
                    files::make_dirs(&to, 0o700)?;
                }
                let meta = look(&from)?;
                files::copy_attributes(&from, &meta, &to)?;
            }
            Action::Copy(path) => copy(&mine.join(path), &to.join(path), &mut left_out)?,
            Action::CopyTree(path) => {
                let (from, to) = (mine.join(path), to.join(path));
                files::copy_tree(&from, &to, &mut left_out)?;
            }
            Action::Beside { from, to: name } => {
                copy(&new.join(from), &to.join(name), &mut left_out)?
            }
        }
    }
    Ok(left_out)
}

fn copy(from: &Path, to: &Path, left_out: &mut Vec<PathBuf>) -> Result<()> {
    if !files::copy_file(from, &look(from)?, to)? {
        left_out.push(from.to_owned());
    }
    Ok(())
}

fn look(path: &Path) -> Result<fs::Metadata> {
    fs::symlink_metadata(path).map_err(failed(path, "cannot be looked at"))
}
