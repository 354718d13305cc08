//! A tree that can be told to us, and to `mkcomposefs`.

use std::collections::HashMap;
use std::fmt::Write;

use treeferry_core_composefs::{Attributes, Backing, Digest, DirId, Image};

/// A file of a tree; directories come before what is in them.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// From the root, without a slash at the beginning; empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory,
    Symlink(Vec<u8>),
    Regular {
        bytes: u64,
        backing: String,
        digest: Option<Digest>,
    },
}

impl File {
    pub(crate) fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            Kind::Regular { .. } => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn directory(path: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::Directory)
    }

    pub(crate) fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::Symlink(target.into()))
    }

    /// A regular file whose content is named for its path.
    pub(crate) fn regular(path: impl Into<Vec<u8>>, bytes: u64) -> Self {
        let path = path.into();
        let sum = path.iter().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(1_099_511_628_211) ^ u64::from(*byte)
        });
        let kind = Kind::Regular {
            bytes,
            backing: format!("{:02x}/{sum:062x}.file", sum % 256),
            digest: None,
        };
        Self::new(path, kind)
    }

    pub(crate) fn with_digest(mut self, byte: u8) -> Self {
        if let Kind::Regular { digest, .. } = &mut self.kind {
            *digest = Some(Digest([byte; 32]));
        }
        self
    }

    pub(crate) fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub(crate) fn with_xattr(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.push((name.into(), value.into()));
        self
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            xattrs: self
                .xattrs
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect(),
        }
    }
}

/// Makes our image of a tree, whose first file is the root; returns its bytes and its digest.
pub(crate) fn image(tree: &[File]) -> (Vec<u8>, Digest) {
    let mut image = Image::new(&tree[0].attributes()).unwrap();
    let mut dirs: HashMap<&[u8], DirId> = HashMap::from([(&b""[..], Image::ROOT)]);
    for file in &tree[1..] {
        let at = file.path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match at {
            Some(at) => (&file.path[..at], &file.path[at + 1..]),
            None => (&b""[..], file.path.as_slice()),
        };
        let (parent, attributes) = (dirs[parent], file.attributes());
        match &file.kind {
            Kind::Directory => {
                let dir = image.add_directory(parent, name, &attributes).unwrap();
                dirs.insert(&file.path, dir);
            }
            Kind::Symlink(target) => image
                .add_symlink(parent, name, &attributes, target)
                .unwrap(),
            Kind::Regular {
                bytes,
                backing,
                digest,
            } => {
                let backing = Backing {
                    path: backing,
                    digest: *digest,
                };
                image
                    .add_file(parent, name, &attributes, *bytes, backing)
                    .unwrap();
            }
        }
    }
    let mut bytes = Vec::new();
    let digest = image.write(&mut bytes).unwrap();
    (bytes, digest)
}

/// Writes a tree in the text form of composefs-dump(5).
pub(crate) fn dump(tree: &[File]) -> String {
    let mut text = String::new();
    for file in tree {
        let (kind, size, payload, digest) = match &file.kind {
            Kind::Directory => (0o040_000, 0, None, None),
            Kind::Symlink(target) => (
                0o120_000,
                target.len() as u64,
                Some(target.as_slice()),
                None,
            ),
            Kind::Regular { bytes: 0, .. } => (0o100_000, 0, None, None),
            Kind::Regular {
                bytes,
                backing,
                digest,
            } => (0o100_000, *bytes, Some(backing.as_bytes()), *digest),
        };
        let payload = payload.map_or("-".to_owned(), escape);
        let digest = digest.map_or("-".to_owned(), |digest| digest.to_string());
        let (mode, uid, gid) = (kind | file.mode, file.uid, file.gid);
        let path = escape(&file.path);
        write!(
            text,
            "/{path} {size} {mode:o} 1 {uid} {gid} 0 0.0 {payload} - {digest}"
        )
        .unwrap();
        for (name, value) in &file.xattrs {
            write!(text, " {}={}", escape(name), escape(value)).unwrap();
        }
        text.push('\n');
    }
    text
}

fn escape(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'/' | b'.' | b'_' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}
