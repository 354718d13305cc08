//! A few thousand files of this machine, copied to where they can be changed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, io_failure};
use crate::verbs::size_text::size_text;

/// Where most machines have many files that anyone may read.
const DIRECTORIES: [&str; 6] = [
    "/usr/share/doc",
    "/usr/include",
    "/usr/share/zoneinfo",
    "/usr/share/man",
    "/usr/share",
    "/usr/lib",
];

/// A sample with fewer files shows little.
const FILES_MIN: usize = 1000;
/// One with more takes long.
const FILES_MAX: usize = 4000;
const BYTES_MAX: u64 = 128 * 1024 * 1024;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Sample {
    from: PathBuf,
    /// Regular files, relative to the sample.
    files: Vec<PathBuf>,
    symlinks: usize,
    bytes: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, symlinks) = (self.files.len(), self.symlinks);
        let (bytes, from) = (size_text(self.bytes), self.from.display());
        write!(
            f,
            "{files} files and {symlinks} symbolic links of {from}, {bytes}"
        )
    }
}

/// Copies the files of `directory`, or of the first directory with enough of them, to `to`.
pub(super) fn take(directory: Option<&Path>, to: &Path) -> Result<Sample> {
    if let Some(directory) = directory {
        let sample = copy(directory, to)?;
        return match sample.files.is_empty() {
            true => Err(Failure::new(format!(
                "{}: has no files",
                directory.display()
            ))),
            false => Ok(sample),
        };
    }
    for directory in DIRECTORIES {
        let sample = copy(Path::new(directory), to)?;
        if sample.files.len() >= FILES_MIN {
            return Ok(sample);
        }
        fs::remove_dir_all(to).map_err(|e| io_failure(to, &e))?;
    }
    let tried = DIRECTORIES.join(", ");
    Err(Failure::new(format!(
        "none of {tried} has {FILES_MIN} files: name a directory"
    )))
}

/// Copies what can be read. What cannot, and what is neither file, link nor directory, is left out.
fn copy(from: &Path, to: &Path) -> Result<Sample> {
    let mut sample = Sample {
        from: from.to_owned(),
        ..Sample::default()
    };
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        let target = to.join(&directory);
        fs::create_dir_all(&target).map_err(|e| io_failure(&target, &e))?;
        let Ok(entries) = fs::read_dir(from.join(&directory)) else {
            continue;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = directory.join(entry.file_name());
            // Trees hold UTF-8 names only.
            if path.to_str().is_none() {
                continue;
            }
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_symlink() {
                sample.add_symlink(&path, to);
            } else if kind.is_file() {
                sample.add_file(path, to);
            }
        }
        if sample.files.len() >= FILES_MAX || sample.bytes >= BYTES_MAX {
            break;
        }
    }
    Ok(sample)
}

impl Sample {
    fn add_file(&mut self, path: PathBuf, to: &Path) {
        if self.files.len() >= FILES_MAX || self.bytes >= BYTES_MAX {
            return;
        }
        if let Ok(bytes) = fs::copy(self.from.join(&path), to.join(&path)) {
            self.bytes += bytes;
            self.files.push(path);
        }
    }

    fn add_symlink(&mut self, path: &Path, to: &Path) {
        let Ok(target) = fs::read_link(self.from.join(path)) else {
            return;
        };
        if target.to_str().is_some() && std::os::unix::fs::symlink(target, to.join(path)).is_ok() {
            self.symlinks += 1;
        }
    }

    /// Adds, edits and removes a few of the files at `at`, and says what.
    pub(super) fn change(&self, at: &Path) -> Result<String> {
        const EACH: usize = 5;
        let edited: Vec<_> = self.files.iter().step_by(10).take(EACH).collect();
        let removed: Vec<_> = self.files.iter().skip(1).step_by(10).take(EACH).collect();
        for file in &edited {
            let path = at.join(file);
            let mut bytes = fs::read(&path).map_err(|e| io_failure(&path, &e))?;
            bytes.extend_from_slice(b"\nedited by the demo\n");
            // Not written in place: the file may be read-only.
            fs::remove_file(&path).map_err(|e| io_failure(&path, &e))?;
            fs::write(&path, bytes).map_err(|e| io_failure(&path, &e))?;
        }
        for file in &removed {
            let path = at.join(file);
            fs::remove_file(&path).map_err(|e| io_failure(&path, &e))?;
        }
        let new = at.join("added-by-the-demo");
        fs::create_dir(&new).map_err(|e| io_failure(&new, &e))?;
        for number in 1..=EACH {
            let path = new.join(format!("file {number}"));
            fs::write(&path, format!("file {number}\n")).map_err(|e| io_failure(&path, &e))?;
        }
        let (edited, removed) = (edited.len(), removed.len());
        Ok(format!(
            "{EACH} files added, {edited} edited, {removed} removed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_copied_and_changed_as_it_says() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("d")).unwrap();
        for number in 0..30 {
            fs::write(from.join(format!("d/{number:02}")), "text").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", from.join("link")).unwrap();
        let sample = take(Some(&from), &to).unwrap();
        assert_eq!(
            (sample.files.len(), sample.symlinks, sample.bytes),
            (30, 1, 120)
        );
        sample.change(&to).unwrap();
        let edited = fs::read_to_string(to.join("d/00")).unwrap();
        assert_eq!(edited, "text\nedited by the demo\n");
        assert!(!to.join("d/01").exists());
        assert_eq!(
            fs::read_dir(to.join("added-by-the-demo")).unwrap().count(),
            5
        );
    }
}
