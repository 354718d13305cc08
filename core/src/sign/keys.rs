//! Files of keys, and where they lie.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Scheme;
use crate::error::{Error, Result};
use crate::format::{FormatError, Place};

/// The most that a file of keys may be long, bytes.
const KEY_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Directories with files of keys for everything on a machine: `trusted.TYPE`, the files in
/// `trusted.TYPE.d`, and the same with `revoked`, which wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyDirectories(pub Vec<PathBuf>);

/// The text of a file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFileText {
    /// Where it is.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
}

impl KeyDirectories {
    /// Returns the directories that OSTree looks in.
    pub fn system() -> Self {
        Self(vec!["/etc/ostree".into(), "/usr/share/ostree".into()])
    }

    /// Reads the files of trusted keys. **Blocking.**
    pub fn trusted(&self, scheme: Scheme) -> Result<Vec<KeyFileText>> {
        self.read("trusted", scheme)
    }

    /// Reads the files of revoked keys. **Blocking.**
    pub fn revoked(&self, scheme: Scheme) -> Result<Vec<KeyFileText>> {
        self.read("revoked", scheme)
    }

    fn read(&self, what: &str, scheme: Scheme) -> Result<Vec<KeyFileText>> {
        let mut files = Vec::new();
        for directory in &self.0 {
            let file = directory.join(format!("{what}.{}", scheme.name()));
            if file.is_file() {
                files.push(KeyFileText::read(&file)?);
            }
            let directory = directory.join(format!("{what}.{}.d", scheme.name()));
            let mut names = match std::fs::read_dir(&directory) {
                Ok(entries) => entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<std::io::Result<Vec<_>>>()
                    .map_err(|e| Error::io("cannot be listed", e).about(&*directory))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("cannot be listed", error).about(&*directory)),
            };
            names.sort();
            for name in names.iter().filter(|name| name.is_file()) {
                files.push(KeyFileText::read(name)?);
            }
        }
        Ok(files)
    }
}

impl KeyFileText {
    /// Reads a file of keys that must be there. **Blocking.**
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| Error::io("the keys in it cannot be read", e).about(path);
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > KEY_FILE_BYTES_MAX {
            let problem = format!("is {length} bytes long: a file of keys is not");
            return Err(Error::invalid(problem).about(path));
        }
        Ok(Self {
            path: path.to_owned(),
            text: std::fs::read_to_string(path).map_err(failed)?,
        })
    }

    /// Reads the keys with `parse`, and says in which file it failed if it does.
    pub fn keys<T>(
        &self,
        parse: impl FnOnce(&str) -> std::result::Result<Vec<T>, FormatError>,
    ) -> Result<Vec<T>> {
        parse(&self.text).map_err(|e| {
            Error::invalid("has a line that is not a key")
                .because(e)
                .about(&*self.path)
        })
    }
}

/// Reads keys, one on each line; empty lines and those that begin with `#` are none.
///
/// # Errors
///
/// Names the first line that is not a key.
pub fn parse_base64_lines<T>(
    text: &str,
    parse: impl Fn(&str) -> std::result::Result<T, FormatError>,
) -> std::result::Result<Vec<T>, FormatError> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let place = Place::Line(number as u64 + 1);
            keys.push(parse(line).map_err(|e| e.at(place))?);
        }
    }
    Ok(keys)
}

/// Reads the blocks of a PEM text that are called `label`, such as `PUBLIC KEY`: the DER in each.
///
/// What stands between blocks, and blocks of other names, is skipped, as everybody does.
///
/// # Errors
///
/// When a block has no end, or is not base64.
pub fn parse_pem_blocks(text: &str, label: &str) -> std::result::Result<Vec<Vec<u8>>, FormatError> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() != begin {
            continue;
        }
        let place = Place::Line(number as u64 + 1);
        let mut body = String::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.trim() == end => break,
                Some((_, line)) => body.push_str(line.trim()),
                None => return Err(FormatError::new("PEM", "a block has no end").at(place)),
            }
        }
        blocks.push(decode_base64("PEM", &body).map_err(|e| e.at(place))?);
    }
    Ok(blocks)
}

/// Reads base64, with blanks around it.
pub(super) fn decode_base64(
    what: &'static str,
    text: &str,
) -> std::result::Result<Vec<u8>, FormatError> {
    STANDARD
        .decode(text.trim())
        .map_err(|e| FormatError::new(what, format!("not base64: {e}")))
}
