//! composefs images of trees: what `checkout --composefs` writes, whose digests commits record, and early
//! boot mounts.
//!
//! An image holds names, owners, modes, extended attributes and targets; the content of its files stays in the
//! repository, where each is named by its path below `objects/`. So an image can be mounted only over a
//! repository whose objects are plain files, which those of an archive are not.
//!
//! ```text
//! files   what an image must know of a file
//! build   the image of a tree
//! ```

mod build;
mod files;

pub(crate) use build::{Source, failed, image_of};
pub use files::is_sealed;
pub use treeferry_core_composefs::{Digest, Image, VerityHasher};

use crate::error::{Error, Result};
use crate::format::Commit;
use crate::repo::{Repo, TreeLimits, TreeRoot, measure_and_keep};

/// The key of a commit's metadata under which the fs-verity digest of its image is.
pub const DIGEST_KEY: &str = "ostree.composefs.digest.v0";

/// Which files of an image must have content with a certain fs-verity digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileDigests {
    /// All, which takes reading and verifying all content. Only so an image has the digest that its commit
    /// records.
    #[default]
    All,
    /// Those whose objects are sealed by fs-verity in the repository.
    Sealed,
    /// None. No content is read.
    None,
}

/// Makes the image of a tree, in memory but for the content of files.
///
/// Directories that a system needs to mount others on (`usr`, `etc`, `boot`, `var`, `sysroot`) are in it
/// whether or not they are in the tree.
///
/// # Errors
///
/// Fails if the tree is not there as a whole, or cannot be in an image: it is too deep or too large, or a
/// file has more attributes than an image has room for.
pub async fn composefs_image(repo: &Repo, root: TreeRoot, digests: FileDigests) -> Result<Image> {
    let limits = TreeLimits {
        entries_max: build::ENTRIES_MAX,
        ..TreeLimits::default()
    };
    let measured = measure_and_keep(repo, &root.tree, limits).await?;
    let source = Source {
        objects: &**repo.objects(),
        codec: repo.codec(),
        pool: repo.pool(),
    };
    image_of(source, root, measured.dirtrees, digests).await
}

/// Returns the digest that a commit records of its image, if it records one.
///
/// # Errors
///
/// Fails if what it records is no such digest.
pub fn recorded_digest(commit: &Commit) -> Result<Option<Digest>> {
    let Some(value) = commit.metadata.get(DIGEST_KEY) else {
        return Ok(None);
    };
    let digest = value.as_bytes().and_then(|bytes| bytes.try_into().ok());
    let digest = digest.map(Digest).ok_or_else(|| {
        Error::corrupt(format!(
            "its {DIGEST_KEY} is no digest: those have 32 bytes"
        ))
    })?;
    Ok(Some(digest))
}
