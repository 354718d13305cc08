//! Objects to test with: small, large and odd.

use bytes::Bytes;
use futures::StreamExt;
use treeferry_core::codec::{Codec, Finish, FlateCodec};
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{
    Checksum, Commit, DirEntry, DirMeta, DirTree, FileEntry, FileHeader, Hasher, ObjectName,
    ObjectType, Xattrs,
};
use treeferry_core::store::{Body, Incoming, Payload};
use treeferry_core::{Error, Result};

use crate::{HeldOwners, Holds};

/// An object, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its name.
    pub name: ObjectName,
    /// What it consists of.
    pub parts: Parts,
}

/// What an object consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// The bytes of a metadata object.
    Metadata(Bytes),
    /// The header and content of a file.
    File(FileHeader, Bytes),
}

impl Sample {
    /// Makes a metadata object.
    pub fn metadata(object_type: ObjectType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let name = ObjectName::new(object_type, Checksum::of(&bytes));
        let parts = Parts::Metadata(bytes);
        Self { name, parts }
    }

    /// Makes a file object.
    pub fn file(header: FileHeader, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let mut hasher = Hasher::new();
        hasher.update(&header.to_canonical());
        hasher.update(&content);
        let name = ObjectName::file(hasher.finish());
        let parts = Parts::File(header, content);
        Self { name, parts }
    }

    /// Returns the length of the content of a file, or of a metadata object's bytes.
    pub fn unpacked_bytes(&self) -> u64 {
        match &self.parts {
            Parts::Metadata(bytes) | Parts::File(_, bytes) => bytes.len() as u64,
        }
    }

    /// Returns the object on its way, as hashed, at hand.
    pub fn incoming(&self) -> Incoming {
        Incoming::named(self.name, self.body_with(Payload::Bytes))
    }

    /// Returns the object on its way, as hashed, its bytes arriving in pieces of `piece_bytes`.
    pub fn streamed(&self, piece_bytes: usize) -> Incoming {
        let pieces = |bytes: Bytes| Payload::Stream(stream(split(&bytes, piece_bytes)));
        Incoming::named(self.name, self.body_with(pieces))
    }

    /// Returns a file on its way in the framing of archives; metadata as it is.
    pub fn incoming_filez(&self) -> Incoming {
        match &self.parts {
            Parts::Metadata(_) => self.incoming(),
            Parts::File(header, content) => filez_named(self.name, filez(header, content)),
        }
    }

    /// Returns the object's body, its bytes wrapped by `wrap`.
    pub fn body_with(&self, wrap: impl FnOnce(Bytes) -> Payload) -> Body {
        match &self.parts {
            Parts::Metadata(bytes) => Body::Metadata(wrap(bytes.clone())),
            Parts::File(header, content) => Body::File {
                header: header.clone(),
                content_bytes: content.len() as u64,
                content: wrap(content.clone()),
            },
        }
    }
}

/// Announces `bytes` as the `.filez` of the file `name`.
pub fn filez_named(name: ObjectName, bytes: Vec<u8>) -> Incoming {
    let body = Body::Filez {
        stored_bytes: Some(bytes.len() as u64),
        payload: Payload::Bytes(bytes.into()),
    };
    Incoming::named(name, body)
}

/// Returns a file in the framing of archives. Level 1: no store deflates so by itself.
pub fn filez(header: &FileHeader, content: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_filez(content.len() as u64);
    // OSTree ends a symbolic link at its header, without deflate data.
    if !header.is_symlink() {
        bytes.extend(deflate(content));
    }
    bytes
}

/// Returns `content` deflated.
///
/// # Panics
///
/// If the codec fails, which it does not for bytes in memory.
pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut deflater = FlateCodec.deflater(1);
    let (mut input, mut out, mut piece) = (content, Vec::new(), vec![0; 64 * 1024]);
    loop {
        let step = deflater
            .step(input, &mut piece, Finish::End)
            .expect("bytes in memory can be deflated");
        input = &input[step.consumed..];
        out.extend_from_slice(&piece[..step.produced]);
        if step.ended {
            return out;
        }
    }
}

/// Cuts `bytes` into pieces.
pub fn split(bytes: &Bytes, piece_bytes: usize) -> Vec<Result<Bytes>> {
    let starts = (0..bytes.len()).step_by(piece_bytes);
    let piece = |start| Ok(bytes.slice(start..bytes.len().min(start + piece_bytes)));
    starts.map(piece).collect()
}

/// Returns a stream of `pieces`.
pub fn stream(pieces: Vec<Result<Bytes>>) -> futures::stream::BoxStream<'static, Result<Bytes>> {
    futures::stream::iter(pieces).boxed()
}

/// Returns the error of a connection that broke, as a stream that stops midway carries it.
pub fn broken_connection() -> Error {
    let kind = treeferry_core::ErrorKind::Unavailable { retry_after: None };
    Error::new(kind, "the connection broke")
}

/// Returns a regular file's header that `holds` can hold.
pub fn plain_header(holds: Holds) -> FileHeader {
    let (uid, gid) = match holds.owners {
        HeldOwners::Any => (0, 0),
        HeldOwners::Only { uid, gid } => (uid, gid),
    };
    FileHeader {
        uid,
        gid,
        mode: 0o100_644,
        symlink_target: "".into(),
        xattrs: Xattrs::default(),
    }
}

/// Returns a small file that `holds` can hold, one for each `text`.
pub fn file(holds: Holds, text: &str) -> Sample {
    Sample::file(plain_header(holds), text.as_bytes().to_vec())
}

/// Returns a symbolic link that `holds` can hold.
pub fn symlink(holds: Holds, target: &str) -> Sample {
    let header = FileHeader {
        mode: 0o120_777,
        symlink_target: target.into(),
        ..plain_header(holds)
    };
    Sample::file(header, Bytes::new())
}

/// Returns 5 MiB and a bit of content, one half of which can be deflated.
pub fn large_content() -> Bytes {
    const BYTES: usize = 5 * 1024 * 1024 + 4097;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(BYTES + 8);
    while content.len() < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = content.len() % 65_536 < 32_768;
        let word = if random { state } else { state & 0x0101 };
        content.extend_from_slice(&word.to_le_bytes());
    }
    content.truncate(BYTES);
    content.into()
}

/// Returns headers that differ from the plainest that `holds` can hold in one way each, and in what.
/// Not all of them can be held.
pub fn odd_headers(holds: Holds) -> Vec<(&'static str, FileHeader)> {
    let plain = plain_header(holds);
    let link = FileHeader {
        mode: 0o120_777,
        symlink_target: "../a target/with spaces and ü".into(),
        ..plain.clone()
    };
    let with = |change: &dyn Fn(&mut FileHeader)| {
        let mut header = plain.clone();
        change(&mut header);
        header
    };
    let long = vec![b'v'; 3000];
    vec![
        ("plain", plain.clone()),
        ("executable", with(&|h| h.mode = 0o100_755)),
        ("read only", with(&|h| h.mode = 0o100_444)),
        ("group writable", with(&|h| h.mode = 0o100_775)),
        ("setuid", with(&|h| h.mode = 0o104_755)),
        ("setgid", with(&|h| h.mode = 0o102_755)),
        ("world writable", with(&|h| h.mode = 0o100_666)),
        ("owner", with(&|h| h.uid += 1234)),
        ("group", with(&|h| h.gid += 4321)),
        ("large owner", with(&|h| h.uid = 0x7fff_fff0)),
        (
            "xattr",
            with(&|h| h.xattrs = xattrs(&[(b"user.a", b"one")])),
        ),
        (
            "empty and long xattrs",
            with(&|h| h.xattrs = xattrs(&[(b"user.empty", b""), (b"user.long", &long)])),
        ),
        (
            "security xattr",
            with(&|h| h.xattrs = xattrs(&[(b"security.selinux", b"system_u:object_r:bin_t:s0\0")])),
        ),
        (
            "xattr whose name is not UTF-8",
            with(&|h| h.xattrs = xattrs(&[(b"user.\xff\xfe", b"\0\x01")])),
        ),
        ("symbolic link", link.clone()),
        (
            "symbolic link with an xattr",
            FileHeader {
                xattrs: xattrs(&[(b"security.selinux", b"system_u:object_r:bin_t:s0\0")]),
                ..link
            },
        ),
    ]
}

fn xattrs(pairs: &[(&[u8], &[u8])]) -> Xattrs {
    let pairs = pairs.iter();
    Xattrs::sorted(
        pairs
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
    )
}

/// Returns a dirmeta.
pub fn dirmeta(mode: u32) -> Sample {
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_000 | mode,
        xattrs: Xattrs::default(),
    };
    Sample::metadata(ObjectType::DirMeta, meta.to_bytes())
}

/// Returns a dirtree of files and directories, each given with its name.
///
/// # Panics
///
/// If a name is no file name, or appears twice.
pub fn dirtree(files: &[(&str, &Sample)], dirs: &[(&str, &Sample, &Sample)]) -> Sample {
    let files = files.iter().map(|(name, file)| FileEntry {
        name: (*name).into(),
        file: file.name.checksum,
    });
    let dirs = dirs.iter().map(|(name, tree, meta)| DirEntry {
        name: (*name).into(),
        tree: tree.name.checksum,
        meta: meta.name.checksum,
    });
    let tree = DirTree::new(files.collect(), dirs.collect()).expect("the samples are well formed");
    Sample::metadata(ObjectType::DirTree, tree.to_bytes())
}

/// Returns a commit without parent and without metadata.
pub fn commit(subject: &str, tree: &Sample, meta: &Sample) -> Sample {
    let commit = Commit {
        metadata: Dict::new(),
        parent: None,
        related: Vec::new(),
        subject: subject.to_owned(),
        body: String::new(),
        timestamp: 1_700_000_000,
        tree: tree.name.checksum,
        meta: meta.name.checksum,
    };
    Sample::metadata(ObjectType::Commit, commit.to_bytes())
}

/// A whole tree with its commit.
#[derive(Debug, Clone)]
pub struct TreeSample {
    /// All objects, children before parents; the last is the commit.
    pub objects: Vec<Sample>,
    /// The commit.
    pub commit: Sample,
}

impl TreeSample {
    /// Returns the names of all objects, children before parents.
    pub fn names(&self) -> Vec<ObjectName> {
        self.objects.iter().map(|o| o.name).collect()
    }
}

/// Returns a tree: `file_count` files below `/many`, an empty directory and a symbolic link.
pub fn tree(holds: Holds, subject: &str, file_count: usize) -> TreeSample {
    let numbered = |i| (format!("f{i:05}"), file(holds, &format!("{subject} {i}")));
    let files: Vec<(String, Sample)> = (0..file_count).map(numbered).collect();
    let link = symlink(holds, "many");
    let entries: Vec<_> = files
        .iter()
        .map(|(name, file)| (name.as_str(), file))
        .collect();
    let (many, empty, meta) = (dirtree(&entries, &[]), dirtree(&[], &[]), dirmeta(0o755));
    let root = dirtree(
        &[("link", &link)],
        &[("empty", &empty, &meta), ("many", &many, &meta)],
    );
    let commit = commit(subject, &root, &meta);
    let mut objects: Vec<_> = files.into_iter().map(|(_, file)| file).collect();
    objects.extend([link, meta, empty, many, root, commit.clone()]);
    TreeSample { objects, commit }
}
