//! Packages on top: a base, directories laid over it, recorded as a commit and deployed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use std::sync::Arc;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::gvariant::Value;
use treeferry_core::format::{Branch, Checksum, Refspec};
use treeferry_core::ops::checkout::{CheckoutItem, CheckoutOptions, Destination, checkout};
use treeferry_core::ops::commit::{
    Bootable, CommitOptions, CommitReport, HardLinks, Parent, TreeInput, commit,
};
use treeferry_core::ops::labels::{LabelingEpoch, Labels};

use crate::files;
use crate::sysroot::Sysroot;

/// What to lay over what.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LayerOptions {
    /// The commit below.
    pub base: Checksum,
    /// What is laid over it, in order: directories of this machine, as they are to be found at `/`.
    pub layers: Vec<PathBuf>,
    /// The branch to record the result on.
    pub branch: Branch,
    /// Its version.
    pub version: Option<String>,
    /// When that is, seconds since 1970 UTC.
    pub timestamp: u64,
}

impl LayerOptions {
    /// Returns that `layers` are laid over `base`.
    pub fn new(base: Checksum, layers: Vec<PathBuf>, branch: Branch, timestamp: u64) -> Self {
        Self {
            base,
            layers,
            branch,
            version: None,
            timestamp,
        }
    }
}

/// Says in a commit what it was laid over.
pub const BASE_KEY: &str = "treeferry.base-commit";
/// How many symbolic links lead from one to the next before a ring is assumed.
const LINKS_MAX: usize = 40;

impl Sysroot {
    /// Lays directories over a commit, and records the result in this sysroot's repository. The
    /// sysroot must be locked.
    ///
    /// What a layer has in `/etc` goes to `/usr/etc`, as what a system ships there; what it has behind
    /// a symbolic link of the base, such as `/lib`, goes to where that leads. Files are replaced, and
    /// never written to: they may be hard links to objects.
    pub async fn commit_layers(&self, options: &LayerOptions) -> Result<CommitReport> {
        let tree = self.layout().repo().join("tmp/treeferry-overlay");
        let (path, layers) = (tree.clone(), options.layers.clone());
        self.run(move |_| files::remove_all(&path)).await?;
        let item = CheckoutItem::commit(options.base);
        let destination = Destination::path(&tree);
        checkout(
            self.repo(),
            &item,
            &destination,
            &CheckoutOptions::default(),
        )
        .await?;
        let path = tree.clone();
        let labels = self
            .run(move |_| {
                for layer in &layers {
                    lay_over(layer, &path)?;
                }
                Labels::read_directory(&path)
            })
            .await?;
        let mut commit_options = CommitOptions::default();
        commit_options.target = Some(Refspec {
            remote: None,
            branch: options.branch.clone(),
        });
        commit_options.parent = Parent::Target;
        commit_options.subject = format!("Layers over {}", options.base);
        commit_options.timestamp = options.timestamp;
        commit_options.trees = vec![TreeInput::Dir(tree.clone())];
        commit_options.hard_links = HardLinks::Recognise;
        commit_options.bootable = Bootable::Yes;
        let base = self.repo().load_commit(&options.base).await?;
        let version = options
            .version
            .clone()
            .or_else(|| base.version().map(str::to_owned));
        let mut metadata: Vec<(String, Value)> = Vec::new();
        metadata.extend(version.map(|version| ("version".to_owned(), version.into())));
        metadata.push((BASE_KEY.to_owned(), options.base.to_string().into()));
        commit_options.metadata = metadata;
        let labels = labels.map(|labels| Arc::new(labels.with_epoch(LabelingEpoch::UsrEtcAsEtc)));
        commit_options.modifier.labels = labels;
        let report = commit(self.repo(), commit_options).await?;
        self.run(move |_| files::remove_all(&tree)).await?;
        Ok(report)
    }
}

/// Lays a directory over a tree.
fn lay_over(layer: &Path, tree: &Path) -> Result<()> {
    let mut todo: VecDeque<PathBuf> = VecDeque::from([PathBuf::new()]);
    while let Some(dir) = todo.pop_front() {
        for name in files::names(&layer.join(&dir))? {
            let path = dir.join(name);
            let from = layer.join(&path);
            let meta =
                fs::symlink_metadata(&from).map_err(files::failed(&from, "cannot be looked at"))?;
            let to = tree.join(place(tree, &path)?);
            let there = files::look(&to)?;
            if meta.is_dir() {
                match there {
                    Some(there) if there.is_dir() => {}
                    Some(_) => {
                        return Err(Error::invalid(
                            "is a directory in a layer and a file below it",
                        )
                        .about(path));
                    }
                    None => {
                        files::make_dirs(&to, 0o700)?;
                        files::copy_attributes(&from, &meta, &to)?;
                    }
                }
                todo.push_back(path);
                continue;
            }
            if there.is_some_and(|there| there.is_dir()) {
                return Err(
                    Error::invalid("is a file in a layer and a directory below it").about(path),
                );
            }
            if !files::copy_file(&from, &meta, &to)? {
                let problem =
                    "is neither file, symbolic link nor directory, and cannot be recorded";
                return Err(Error::invalid(problem).about(from));
            }
        }
    }
    Ok(())
}

/// Returns where in a tree a path of a layer goes: directories above it are followed where they are
/// symbolic links, but never out of the tree.
fn place(tree: &Path, path: &Path) -> Result<PathBuf> {
    let path = match path.strip_prefix("etc") {
        Ok(rest) => Path::new("usr/etc").join(rest),
        Err(_) => path.to_owned(),
    };
    let names = |path: &Path| -> VecDeque<OsString> {
        path.components()
            .map(|c| c.as_os_str().to_owned())
            .collect()
    };
    let mut rest = names(&path);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        match Path::new(&name).components().next() {
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            Some(Component::Normal(_)) => {}
            Some(Component::RootDir) => {
                here = PathBuf::new();
                continue;
            }
            _ => continue,
        }
        let next = here.join(&name);
        let full = tree.join(&next);
        let is_link = files::look(&full)?.is_some_and(|meta| meta.is_symlink());
        // The last one is replaced, not followed, unless the layer has a directory there.
        if !is_link || rest.is_empty() && !fs::metadata(&full).is_ok_and(|meta| meta.is_dir()) {
            here = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(
                Error::invalid("has symbolic links that lead in a circle above it").about(path),
            );
        }
        let target = files::read_link(&full)?.unwrap_or_default();
        let mut followed = names(&target);
        followed.extend(rest);
        rest = followed;
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_the_links_of_the_base_and_never_leave_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        fs::create_dir_all(tree.join("usr/etc")).unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("up", "../../../usr"),
            ("dangling", "nowhere"),
        ] {
            std::os::unix::fs::symlink(target, tree.join(link)).unwrap();
        }
        std::os::unix::fs::symlink("ring", tree.join("ring")).unwrap();
        for (path, expected) in [
            ("usr/bin/x", "usr/bin/x"),
            ("lib/x", "usr/lib/x"),
            ("lib", "usr/lib"),
            ("abs/x", "usr/lib/x"),
            ("up/x", "usr/x"),
            ("etc/x", "usr/etc/x"),
            ("dangling", "dangling"),
        ] {
            assert_eq!(
                place(tree, Path::new(path)).unwrap(),
                Path::new(expected),
                "{path}"
            );
        }
        assert!(place(tree, Path::new("ring/x")).is_err());
    }
}
