//! Small trees in memory, and sources that misbehave.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part; a panic is a failed test"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{
    Checksum, Commit, DirEntry, DirMeta, DirTree, FileEntry, FileHeader, ObjectName, ObjectType,
    Xattrs,
};
use treeferry_core::repo::Repo;
use treeferry_core::store::{
    Body, Encoding, LocalObjects, MemoryOptions, MemoryStore, ObjectSource, Payload,
    ResumableSource, Stat,
};
use treeferry_core::transport::RemotePath;

pub(crate) fn memory_repo() -> Repo {
    Repo::new(Arc::new(MemoryStore::new(MemoryOptions::default())))
}

pub(crate) fn header(mode: u32) -> FileHeader {
    let xattrs = Xattrs::default();
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_000 | mode,
        symlink_target: "".into(),
        xattrs,
    }
}

/// Objects by name: a source of whatever bytes it was given, right or wrong.
#[derive(Debug, Default)]
pub(crate) struct Pile {
    objects: Mutex<HashMap<ObjectName, Bytes>>,
    /// The `n`th fetch from now fails as unavailable; 0 is never.
    pub(crate) fail_after: AtomicUsize,
    pub(crate) fetched: Mutex<Vec<ObjectName>>,
}

impl Pile {
    pub(crate) fn add(&self, object_type: ObjectType, bytes: Vec<u8>) -> Checksum {
        let checksum = Checksum::of(&bytes);
        self.plant(ObjectName::new(object_type, checksum), bytes);
        checksum
    }

    /// Puts bytes under a name that they need not hash to.
    pub(crate) fn plant(&self, name: ObjectName, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(name, bytes.into());
    }

    pub(crate) fn remove(&self, name: ObjectName) {
        self.objects.lock().unwrap().remove(&name);
    }

    pub(crate) fn names(&self) -> Vec<ObjectName> {
        self.objects.lock().unwrap().keys().copied().collect()
    }

    /// Returns the metadata object whose place in an archive this is.
    pub(crate) async fn metadata_at(&self, path: &RemotePath) -> Option<Bytes> {
        let is_at = |name: &ObjectName| {
            let extension = match name.object_type {
                ObjectType::Commit => "commit",
                ObjectType::DirTree => "dirtree",
                _ => "dirmeta",
            };
            let hex = name.checksum.to_string();
            format!("objects/{}/{}.{extension}", &hex[..2], &hex[2..]) == path.as_str()
        };
        let name = self.names().into_iter().find(is_at)?;
        match self.fetch(&name).await.unwrap() {
            Some(Body::Metadata(Payload::Bytes(bytes))) => Some(bytes),
            _ => None,
        }
    }

    /// A file, kept as its header and content in one.
    pub(crate) fn file(&self, header: &FileHeader, content: &[u8]) -> Checksum {
        let mut bytes = header.to_canonical();
        bytes.extend_from_slice(content);
        self.add(ObjectType::File, bytes)
    }

    pub(crate) fn meta(&self, mode: u32) -> Checksum {
        let xattrs = Xattrs::default();
        let meta = DirMeta {
            uid: 0,
            gid: 0,
            mode: 0o040_000 | mode,
            xattrs,
        };
        self.add(ObjectType::DirMeta, meta.to_bytes())
    }

    pub(crate) fn tree(
        &self,
        files: &[(&str, Checksum)],
        dirs: &[(&str, Checksum, Checksum)],
    ) -> Checksum {
        let files = files.iter().map(|(name, file)| FileEntry {
            name: (*name).into(),
            file: *file,
        });
        let dirs = dirs.iter().map(|(name, tree, meta)| DirEntry {
            name: (*name).into(),
            tree: *tree,
            meta: *meta,
        });
        let tree = DirTree::new(files.collect(), dirs.collect()).unwrap();
        self.add(ObjectType::DirTree, tree.to_bytes())
    }

    /// A small commit made a second after 1970.
    pub(crate) fn older_commit(&self, salt: &str) -> Checksum {
        let meta = self.meta(0o755);
        let file = self.file(&header(0o644), salt.as_bytes());
        let tree = self.tree(&[("a", file)], &[]);
        self.commit_at(tree, meta, None, 1)
    }

    pub(crate) fn commit(
        &self,
        tree: Checksum,
        meta: Checksum,
        parent: Option<Checksum>,
    ) -> Checksum {
        self.commit_at(tree, meta, parent, 1_700_000_000)
    }

    fn commit_at(
        &self,
        tree: Checksum,
        meta: Checksum,
        parent: Option<Checksum>,
        timestamp: u64,
    ) -> Checksum {
        let commit = Commit {
            metadata: Dict::new(),
            parent,
            related: Vec::new(),
            subject: "subject".into(),
            body: String::new(),
            timestamp,
            tree,
            meta,
        };
        self.add(ObjectType::Commit, commit.to_bytes())
    }

    /// `/a`, `/dir/b`, `/dir/sub/c`: returns the commit.
    pub(crate) fn small_commit(&self, salt: &str, parent: Option<Checksum>) -> Checksum {
        let meta = self.meta(0o755);
        let a = self.file(&header(0o644), format!("a {salt}").as_bytes());
        let b = self.file(&header(0o755), b"b");
        let c = self.file(&header(0o600), format!("c {salt}").repeat(1000).as_bytes());
        let sub = self.tree(&[("c", c)], &[]);
        let dir = self.tree(&[("b", b)], &[("sub", sub, meta)]);
        let root = self.tree(&[("a", a)], &[("dir", dir, meta)]);
        self.commit(root, meta, parent)
    }
}

#[async_trait]
impl ObjectSource for Pile {
    fn encoding(&self) -> Encoding {
        Encoding::Canonical
    }

    async fn stat(&self, _names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        Err(Error::unsupported("a pile does not list"))
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let left = self.fail_after.load(Ordering::SeqCst);
        if left > 0 {
            self.fail_after.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                let kind = ErrorKind::Unavailable { retry_after: None };
                return Err(Error::new(kind, "the line went dead"));
            }
        }
        self.fetched.lock().unwrap().push(*name);
        let Some(bytes) = self.objects.lock().unwrap().get(name).cloned() else {
            return Ok(None);
        };
        if name.object_type != ObjectType::File {
            return Ok(Some(Body::Metadata(Payload::Bytes(bytes))));
        }
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let header = FileHeader::parse_canonical(&bytes[8..8 + length])?;
        let content = bytes.slice(8 + length..);
        let content_bytes = content.len() as u64;
        Ok(Some(Body::File {
            header,
            content_bytes,
            content: Payload::Bytes(content),
        }))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}
