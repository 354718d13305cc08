//! Whether two trees are the same: names, kinds, permissions, link targets, and every byte.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, io_failure};
use crate::verbs::size_text::size_text;

/// The permissions that a tree without owners keeps.
const CANONICAL_MODE: u32 = 0o755;

/// How much of two files is compared at once.
const CHUNK_BYTES: u64 = 128 * 1024;

/// What was compared, and is the same.
#[derive(Debug, Default)]
pub(super) struct Compared {
    dirs: u64,
    files: u64,
    symlinks: u64,
    bytes: u64,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dirs, files, links) = (self.dirs, self.files, self.symlinks);
        let bytes = size_text(self.bytes);
        write!(
            f,
            "identical: {dirs} directories, {links} symbolic links, {files} files with {bytes}, \
             byte by byte"
        )
    }
}

/// Compares two directories and all below them; the first difference is the error.
pub(super) fn compare(a: &Path, b: &Path) -> Result<Compared> {
    let mut compared = Compared::default();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        compared.dirs += 1;
        let (of_a, of_b) = (entries(&a.join(&directory))?, entries(&b.join(&directory))?);
        let only = of_a.keys().find(|name| !of_b.contains_key(*name));
        let only = only.or_else(|| of_b.keys().find(|name| !of_a.contains_key(*name)));
        if let Some(name) = only {
            return Err(differ(&directory.join(name), "is in one tree only"));
        }
        for (name, meta_a) in &of_a {
            let path = directory.join(name);
            let same = compared.entry(&a.join(&path), meta_a, &b.join(&path), &of_b[name])?;
            if !same {
                return Err(differ(&path, "differs"));
            }
            if meta_a.is_dir() {
                todo.push(path);
            }
        }
    }
    Ok(compared)
}

fn differ(path: &Path, how: &str) -> Failure {
    Failure::new(format!(
        "the trees are not identical: {} {how}",
        path.display()
    ))
}

fn entries(directory: &Path) -> Result<BTreeMap<OsString, Metadata>> {
    let failed = |e| io_failure(directory, &e);
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        found.insert(entry.file_name(), entry.metadata().map_err(failed)?);
    }
    Ok(found)
}

impl Compared {
    fn entry(&mut self, a: &Path, meta_a: &Metadata, b: &Path, meta_b: &Metadata) -> Result<bool> {
        if meta_a.file_type() != meta_b.file_type() {
            return Ok(false);
        }
        if meta_a.is_symlink() {
            self.symlinks += 1;
            let target = |path: &Path| fs::read_link(path).map_err(|e| io_failure(path, &e));
            return Ok(target(a)? == target(b)?);
        }
        let mode = |meta: &Metadata| meta.permissions().mode() & CANONICAL_MODE;
        if mode(meta_a) != mode(meta_b) {
            return Ok(false);
        }
        if meta_a.is_dir() {
            return Ok(true);
        }
        self.files += 1;
        self.bytes += meta_a.len();
        Ok(meta_a.len() == meta_b.len() && same_bytes(a, b)?)
    }
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|e| io_failure(path, &e));
    let (mut file_a, mut file_b) = (open(a)?, open(b)?);
    let (mut bytes_a, mut bytes_b) = (Vec::new(), Vec::new());
    loop {
        let read = |file: &mut File, path: &Path, bytes: &mut Vec<u8>| {
            bytes.clear();
            let read = file.take(CHUNK_BYTES).read_to_end(bytes);
            read.map_err(|e| io_failure(path, &e))
        };
        let length = read(&mut file_a, a, &mut bytes_a)?;
        read(&mut file_b, b, &mut bytes_b)?;
        if bytes_a != bytes_b {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        fs::write(place.path().join("d/f"), "text").unwrap();
        std::os::unix::fs::symlink("f", place.path().join("d/l")).unwrap();
        place
    }

    #[test]
    fn equal_trees_are_identical() {
        let compared = compare(tree().path(), tree().path()).unwrap();
        let counts = (
            compared.dirs,
            compared.files,
            compared.symlinks,
            compared.bytes,
        );
        assert_eq!(counts, (2, 1, 1, 4));
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let changes: [fn(&Path); 6] = [
            |at| fs::write(at.join("d/f"), "tExt").unwrap(),
            |at| fs::write(at.join("d/f"), "texts").unwrap(),
            |at| fs::write(at.join("d/new"), "").unwrap(),
            |at| fs::remove_file(at.join("d/f")).unwrap(),
            |at| fs::set_permissions(at.join("d/f"), PermissionsExt::from_mode(0o755)).unwrap(),
            |at| {
                fs::remove_file(at.join("d/l")).unwrap();
                std::os::unix::fs::symlink("g", at.join("d/l")).unwrap();
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (a, b) = (tree(), tree());
            change(b.path());
            assert!(compare(a.path(), b.path()).is_err(), "change {number}");
            assert!(
                compare(b.path(), a.path()).is_err(),
                "change {number}, the other way"
            );
        }
    }
}
