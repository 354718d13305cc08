//! The log that tests read: a line for each request, and one for its answer.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

/// Where lines go.
pub(super) struct Log(Option<Mutex<Box<dyn Write + Send>>>);

impl Log {
    /// Keeps nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Prints.
    pub(super) fn stdout() -> Self {
        Self(Some(Mutex::new(Box::new(io::stdout()))))
    }

    /// Writes a new file, for the user alone.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self(Some(Mutex::new(Box::new(file)))))
    }

    /// Writes a line, with the time before it.
    pub(super) fn line(&self, text: fmt::Arguments<'_>) {
        let Some(out) = &self.0 else { return };
        let now = jiff::Zoned::now().strftime("%F %T.%6f").to_string();
        // In one write, and without a complaint that nobody could read either.
        let line = format!("{now} - {text}\n");
        if let Ok(mut out) = out.lock() {
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }
}
