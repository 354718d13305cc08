//! Standard output: buffered, and quiet when its reader goes away.

use std::io::{self, BufWriter, StdoutLock, Write};

/// Returns standard output, buffered; whoever writes to it flushes at its end.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Prints one line at once.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
