//! Where keyrings lie: with a repository's remote, in files, in directories.

use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::format::RemoteName;
use treeferry_core::repo::Repo;
use treeferry_core::store::ExtraName;

use crate::keyring::Keyring;

/// Files and directories of keyrings. Of a directory the files `*.gpg` and `*.asc` count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyringPlaces(pub Vec<PathBuf>);

impl KeyringPlaces {
    /// Returns the directory that OSTree looks in.
    pub fn system() -> Self {
        Self(vec!["/usr/share/ostree/trusted.gpg.d".into()])
    }
}

/// Reads the keyring that belongs to a remote; `None` when it has none of its own.
pub async fn remote_keyring(repo: &Repo, remote: &RemoteName) -> Result<Option<Keyring>> {
    let name = ExtraName::Keyring(remote.clone());
    let Some(bytes) = repo.state().read_extra(&name).await? else {
        return Ok(None);
    };
    let keyring = Keyring::parse(&bytes).map_err(|e| {
        Error::from(e).about(treeferry_core::Subject::Path(name.file_name().into()))
    })?;
    Ok(Some(keyring))
}

/// Reads keyrings. **Blocking.**
///
/// # Errors
///
/// When a place that is named is not there, or one of its files is not a keyring.
pub fn read_keyrings(places: &KeyringPlaces) -> Result<Keyring> {
    let mut all = Keyring::default();
    for place in &places.0 {
        let failed = |e| Error::io("the keys in it cannot be read", e).about(&**place);
        if std::fs::metadata(place).map_err(failed)?.is_dir() {
            let entries = std::fs::read_dir(place).map_err(failed)?;
            let mut files = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<std::io::Result<Vec<_>>>()
                .map_err(failed)?;
            files.retain(|file| is_keyring(file));
            files.sort();
            for file in files {
                all.add(read_file(&file)?);
            }
        } else {
            all.add(read_file(place)?);
        }
    }
    Ok(all)
}

fn is_keyring(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let extension = path.extension().and_then(|extension| extension.to_str());
    let other = matches!(name, Some("secring.gpg" | "trustdb.gpg"));
    matches!(extension, Some("gpg" | "asc")) && !other && path.is_file()
}

fn read_file(path: &Path) -> Result<Keyring> {
    let bytes = std::fs::read(path)
        .map_err(|e| Error::io("the keys in it cannot be read", e).about(path))?;
    Keyring::parse(&bytes).map_err(|e| Error::from(e).about(path))
}
