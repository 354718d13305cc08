//! Writes into an archive what no honest command would.

use std::fs;
use std::path::{Path, PathBuf};

use treeferry_core::format::gvariant::{Dict, Type, Value};
use treeferry_core::format::{Checksum, Commit};

use super::object_path;

/// Writes a metadata object under the name that its bytes have.
pub(crate) fn put(repo: &Path, bytes: &[u8], kind: &str) -> Checksum {
    let checksum = Checksum::of(bytes);
    put_as(repo, &checksum, bytes, kind);
    checksum
}

/// Writes an object under any name.
pub(crate) fn put_as(repo: &Path, checksum: &Checksum, bytes: &[u8], kind: &str) -> PathBuf {
    let path = object_path(repo, &checksum.to_string(), kind);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Returns a dirtree with any names in any order.
pub(crate) fn dirtree(files: &[(&str, Checksum)], dirs: &[(&str, Checksum, Checksum)]) -> Vec<u8> {
    let name = |name: &str| Value::Str(name.to_owned());
    let sum = |checksum: &Checksum| Value::Bytes(checksum.as_bytes().to_vec());
    let files = files
        .iter()
        .map(|(n, file)| Value::Tuple(vec![name(n), sum(file)]));
    let dirs = dirs
        .iter()
        .map(|(n, tree, meta)| Value::Tuple(vec![name(n), sum(tree), sum(meta)]));
    let array = |ty: &str, values| Value::array(Type::parse(ty).unwrap(), values);
    Value::Tuple(vec![
        array("(say)", files.collect()),
        array("(sayay)", dirs.collect()),
    ])
    .encode()
}

/// Writes the dirmeta of a directory that root owns.
pub(crate) fn dirmeta(repo: &Path) -> Checksum {
    let mut bytes = vec![0; 8];
    bytes.extend(0o40755_u32.to_be_bytes());
    put(repo, &bytes, "dirmeta")
}

/// Writes a commit of a tree, and a branch that holds it.
pub(crate) fn branch(repo: &Path, name: &str, tree: Checksum, meta: Checksum) -> Checksum {
    let commit = Commit {
        metadata: Dict::new(),
        parent: None,
        related: Vec::new(),
        subject: "forged".into(),
        body: String::new(),
        timestamp: 1,
        tree,
        meta,
    };
    let commit = put(repo, &commit.to_bytes(), "commit");
    fs::write(repo.join("refs/heads").join(name), format!("{commit}\n")).unwrap();
    commit
}
