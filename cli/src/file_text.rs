//! Small text files that the command line names.

use std::path::Path;

use crate::failure::{Result, io_failure};

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io_failure(path, &e))
}

/// Reads a text file whole.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| io_failure(path, &e))
}
