//! Repositories in the archive layout in a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive};
use treeferry_core::error::Result;

use crate::dir::{DirOptions, DirTransport, Root};

/// What the C implementation expects to find in a repository, even if it is empty.
const DIRECTORIES: [&str; 8] = [
    "objects",
    "tmp/cache",
    "extensions",
    "state",
    "refs/heads",
    "refs/mirrors",
    "refs/remotes",
    ".treeferry/dir",
];

/// A repository in a directory, and the directory.
///
/// What is written is there for others when something of consequence is (a commit, a ref), or when
/// the directory is [flushed](DirTransport::flush).
#[derive(Debug, Clone)]
pub struct DirArchive {
    /// The repository.
    pub store: ArchiveStore,
    /// The files.
    pub dir: DirTransport,
}

impl DirArchive {
    /// Opens the repository in the directory `path`. Writes nothing.
    pub async fn open(
        path: impl Into<PathBuf>,
        options: ArchiveOptions,
        dir: DirOptions,
    ) -> Result<Self> {
        let dir = DirTransport::open(path, dir).await?;
        let store = ArchiveStore::open(Arc::new(dir.clone()), options).await?;
        Ok(Self { store, dir })
    }

    /// Makes a repository at `place` below the directory `root`, with the directories above it, or
    /// opens the one that is there.
    ///
    /// No symbolic link below `root` is followed.
    pub async fn create(
        root: &Path,
        place: &Path,
        create: CreateArchive,
        options: ArchiveOptions,
        dir: DirOptions,
    ) -> Result<Self> {
        let (at, made) = (root.to_owned(), place.to_owned());
        let make = move || {
            let root = Root::open(&at)?;
            for name in DIRECTORIES {
                let path = made.join(name);
                let path = path.to_str().ok_or_else(|| {
                    let problem = "is not UTF-8: the place of a repository must be";
                    treeferry_core::Error::invalid(problem).about(&*path)
                })?;
                root.make_dirs(path)?;
            }
            Ok(())
        };
        dir.pool.clone().run(make).await?;
        let dir = DirTransport::open(root.join(place), dir).await?;
        let store = ArchiveStore::create(Arc::new(dir.clone()), create, options).await?;
        Ok(Self { store, dir })
    }
}
