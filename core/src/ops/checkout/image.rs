//! Writes the composefs image of a commit in place of a tree of files.

use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Destination;
use super::at::{self, Temp};
use crate::error::{Error, Result};
use crate::format::Checksum;
use crate::ops::composefs::{Digest, FileDigests, composefs_image, failed, recorded_digest};
use crate::repo::{Repo, TreeRoot, load_commit};

/// Writes the image of a commit to a file, which appears, or is replaced, as a whole; returns its fs-verity
/// digest.
///
/// The image names content by its path in a repository whose files are not compressed, also if `repo` is an
/// archive: it can be mounted over one of the former only.
///
/// # Errors
///
/// Where the commit records the digest of its image, and files have theirs
/// ([`FileDigests::All`]), that must be the image's: else nothing is written.
pub async fn checkout_image(
    repo: &Repo,
    commit: &Checksum,
    destination: &Destination,
    digests: FileDigests,
) -> Result<Digest> {
    let value = load_commit(&**repo.objects(), commit).await?;
    let about = |e: Error| e.about(crate::format::ObjectName::commit(*commit));
    let expected = match digests {
        FileDigests::All => recorded_digest(&value).map_err(about)?,
        FileDigests::Sealed | FileDigests::None => None,
    };
    let root = TreeRoot {
        tree: value.tree,
        meta: value.meta,
    };
    let image = composefs_image(repo, root, digests).await?;
    let to = destination.clone();
    let write = move || {
        let path = to.as_path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| Error::invalid("cannot be the name of a file").about(path))?;
        let above = match path.parent() {
            Some(above) if above != Path::new("") => above,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(to.dir(), above, flags, Mode::empty())
            .map_err(|e| Error::io("cannot be opened", e).about(above))?;
        let dir = std::os::fd::AsFd::as_fd(&dir);
        let (temporary, mut file) = Temp::make(dir, |name| at::create_file(dir, name))?;
        let digest = image.write(&mut file).map_err(|e| failed(e).about(path))?;
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Error::corrupt(format!(
                "Generated composefs image digest ({digest}) doesn't match expected digest ({expected})"
            )));
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))
            .map_err(|e| Error::io("its mode cannot be set", e).about(path))?;
        temporary.replace(name).map_err(|e| e.about(path))?;
        Ok(digest)
    };
    repo.pool().run(write).await
}
