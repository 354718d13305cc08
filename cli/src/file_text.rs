//! Files that the command line names: small texts that are read, and what is written whole or not at all.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::failure::{Result, io_failure};

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io_failure(path, &e))
}

/// Reads a text file whole.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| io_failure(path, &e))
}

/// Makes a file beside `path`, to take its place once it is whole: [`persist`](NamedTempFile::persist).
pub(crate) fn draft(path: &Path) -> Result<NamedTempFile> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // As any program creates a file: the umask takes from this what it takes.
    builder.permissions(PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir).map_err(|e| io_failure(path, &e))
}
