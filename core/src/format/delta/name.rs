//! What deltas and their files are called.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::format::{Checksum, FormatError};

const WHAT: &str = "name of a delta";

/// The most parts that a delta may have.
const PARTS_MAX: u32 = 1 << 20;

/// The identity of a delta: from which commit to which.
///
/// Printed as users write it: `FROM-TO`, or `TO` alone for a delta from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaName {
    /// The commit that must be there; `None`: nothing must be.
    pub from: Option<Checksum>,
    /// The commit that it makes.
    pub to: Checksum,
}

impl DeltaName {
    /// Names a delta.
    pub const fn new(from: Option<Checksum>, to: Checksum) -> Self {
        Self { from, to }
    }

    /// Returns the directory below a repository that its files lie in, without a slash at the end.
    pub fn directory(&self) -> String {
        format!("deltas/{}", self.below_deltas())
    }

    /// Returns `XX/REST` or `XX/REST-TO`, in base64 with `_` for `/`.
    fn below_deltas(&self) -> String {
        let to = base64(&self.to);
        match &self.from {
            None => fan_out(&to),
            Some(from) => format!("{}-{to}", fan_out(&base64(from))),
        }
    }

    /// Reads the two names of directories below `deltas/`.
    fn from_directories(start: &str, rest: &str) -> Option<Self> {
        if start.len() != 2 {
            return None;
        }
        let name = format!("{start}{rest}");
        match name.split_once('-') {
            None => Some(Self::new(None, checksum(&name)?)),
            Some((from, to)) => Some(Self::new(Some(checksum(from)?), checksum(to)?)),
        }
    }
}

impl fmt::Display for DeltaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = &self.from {
            write!(f, "{from}-")?;
        }
        fmt::Display::fmt(&self.to, f)
    }
}

impl FromStr for DeltaName {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let parsed = match text.split_once('-') {
            None => text.parse().map(|to| Self::new(None, to)),
            Some((from, to)) => from
                .parse()
                .and_then(|from| Ok(Self::new(Some(from), to.parse()?))),
        };
        parsed.map_err(|e: FormatError| e.within(WHAT))
    }
}

/// A file that belongs to a delta, or the list of the deltas that make one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeltaFile {
    /// What the delta consists of.
    Superblock(DeltaName),
    /// One of its parts, from 0.
    Part(DeltaName, u32),
    /// The detached metadata of the delta.
    Meta(DeltaName),
    /// Which deltas make this commit.
    Index(Checksum),
}

impl DeltaFile {
    /// Returns the path below a repository.
    pub fn path(&self) -> String {
        match self {
            Self::Superblock(name) => format!("{}/superblock", name.directory()),
            Self::Part(name, number) => format!("{}/{number}", name.directory()),
            Self::Meta(name) => format!("{}/meta", name.directory()),
            Self::Index(to) => format!("delta-indexes/{}.index", fan_out(&base64(to))),
        }
    }

    /// Reads what [`path`](Self::path) returns; `None` for all other paths.
    pub fn from_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["deltas", start, rest, file] => {
                let name = DeltaName::from_directories(start, rest)?;
                let found = match file {
                    "superblock" => Self::Superblock(name),
                    "meta" => Self::Meta(name),
                    number => Self::Part(name, number.parse().ok().filter(|n| *n < PARTS_MAX)?),
                };
                (found.path() == path).then_some(found)
            }
            ["delta-indexes", start, rest] if start.len() == 2 => {
                let rest = rest.strip_suffix(".index")?;
                checksum(&format!("{start}{rest}")).map(Self::Index)
            }
            _ => None,
        }
    }

    /// Returns the delta that it belongs to; `None` for an index.
    pub fn delta(&self) -> Option<&DeltaName> {
        match self {
            Self::Superblock(name) | Self::Part(name, _) | Self::Meta(name) => Some(name),
            Self::Index(_) => None,
        }
    }
}

impl fmt::Display for DeltaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

fn base64(checksum: &Checksum) -> String {
    STANDARD_NO_PAD
        .encode(checksum.as_bytes())
        .replace('/', "_")
}

fn checksum(base64: &str) -> Option<Checksum> {
    if base64.contains('/') {
        return None;
    }
    let bytes = STANDARD_NO_PAD.decode(base64.replace('_', "/")).ok()?;
    Checksum::from_slice(&bytes).ok()
}

fn fan_out(base64: &str) -> String {
    let (start, rest) = base64.split_at(2);
    format!("{start}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "7dafb9691045631a7ccad568a8deb669a2d2d795b3a286039531fd2a21a984b4";

    #[test]
    fn paths_are_ostrees_and_parse_back() {
        let to: Checksum = TO.parse().unwrap();
        let (empty, full) = (DeltaName::new(None, to), DeltaName::new(Some(to), to));
        let base = "deltas/fa/+5aRBFYxp8ytVoqN62aaLS15WzooYDlTH9KiGphLQ";
        let of_to = "fa+5aRBFYxp8ytVoqN62aaLS15WzooYDlTH9KiGphLQ";
        for (file, path) in [
            (DeltaFile::Superblock(empty), format!("{base}/superblock")),
            (DeltaFile::Part(full, 12), format!("{base}-{of_to}/12")),
            (DeltaFile::Meta(full), format!("{base}-{of_to}/meta")),
            (
                DeltaFile::Index(to),
                "delta-indexes/fa/+5aRBFYxp8ytVoqN62aaLS15WzooYDlTH9KiGphLQ.index".into(),
            ),
        ] {
            assert_eq!(file.path(), path);
            assert_eq!(DeltaFile::from_path(&path), Some(file));
        }
        for bad in [
            "",
            "deltas",
            "deltas/fa/x/superblock",
            "delta-indexes/fa/x.index",
        ] {
            assert_eq!(DeltaFile::from_path(bad), None, "{bad}");
        }
        for bad in ["01", "+1", "x", "superblock2", "1048576"] {
            assert_eq!(
                DeltaFile::from_path(&format!("{base}/{bad}")),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn names_are_one_or_two_checksums() {
        for text in [TO.to_owned(), format!("{TO}-{TO}")] {
            assert_eq!(text.parse::<DeltaName>().unwrap().to_string(), text);
        }
        for bad in ["", "-", "a-b", &format!("{TO}-"), &format!("-{TO}")] {
            assert!(bad.parse::<DeltaName>().is_err(), "{bad}");
        }
    }
}
