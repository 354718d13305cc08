//! The static deltas that lie in a repository, as its summary names them.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use treeferry_core::format::Checksum;

use crate::failure::{Result, io_failure};

/// Returns `FROM-TO`, or `TO`, and what the superblock hashes to, of each delta. **Blocking.**
pub(crate) fn list(repo: &Path) -> Result<Vec<(String, Checksum)>> {
    let mut found = Vec::new();
    let root = repo.join("deltas");
    for start in names(&root)? {
        for rest in names(&root.join(&start))? {
            let superblock = root.join(&start).join(&rest).join("superblock");
            let Some(name) = decode(&format!("{start}{rest}")) else {
                continue;
            };
            match fs::read(&superblock) {
                Ok(bytes) => found.push((name, Checksum::of(&bytes))),
                // Without it, it is no delta, or not one yet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_failure(&superblock, &error)),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_failure(directory, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| io_failure(directory, &e))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Reads a directory's name: one or two checksums in base64 with `_` for `/`.
fn decode(name: &str) -> Option<String> {
    let checksum = |text: &str| {
        let bytes = STANDARD_NO_PAD.decode(text.replace('_', "/")).ok()?;
        Some(Checksum::from_slice(&bytes).ok()?.to_string())
    };
    match name.split_once('-') {
        None => checksum(name),
        Some((from, to)) => Some(format!("{}-{}", checksum(from)?, checksum(to)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_are_checksums() {
        let to = "7dafb9691045631a7ccad568a8deb669a2d2d795b3a286039531fd2a21a984b4";
        let name = "fa+5aRBFYxp8ytVoqN62aaLS15WzooYDlTH9KiGphLQ";
        assert_eq!(decode(name).as_deref(), Some(to));
        assert_eq!(
            decode(&format!("{name}-{name}")),
            Some(format!("{to}-{to}"))
        );
        assert_eq!(decode("short"), None);
    }

    #[test]
    fn a_repository_without_deltas_has_none() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(list(place.path()).unwrap(), []);
        fs::create_dir_all(place.path().join("deltas/fa/rest")).unwrap();
        assert_eq!(list(place.path()).unwrap(), []);
    }
}
