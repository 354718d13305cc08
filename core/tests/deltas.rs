//! Deltas: into every kind of store, hostile parts, and what an apply may use.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use treeferry_core::codec::{RustXz, XzBranches, XzCodec, XzOptions};
use treeferry_core::format::delta::{
    Compression, DeltaName, Endianness, MetaEntry, Op, PartBuilder, PartHeader, PatchStep,
    Superblock, put_op, write_patch_step,
};
use treeferry_core::format::gvariant::{Dict, Value};
use treeferry_core::format::{
    Checksum, Commit, DirMeta, DirTree, FileEntry, FileHeader, Hasher, ObjectName, Xattrs,
};
use treeferry_core::ops::delta::{
    ApplyBudget, ApplyOptions, DeltaPlace, OpenDelta, SpillPlace, apply,
};
use treeferry_core::pool::Pool;
use treeferry_core::repo::Repo;
use treeferry_core::store::{BatchOptions, Incoming, MemoryOptions, MemoryStore, Payload};
use treeferry_core::{ErrorKind, Result};

fn header() -> FileHeader {
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink_target: "".into(),
        xattrs: Xattrs::default(),
    }
}

fn file_name(content: &[u8]) -> ObjectName {
    let mut hasher = Hasher::new();
    hasher.update(&header().to_canonical());
    hasher.update(content);
    ObjectName::file(hasher.finish())
}

/// A delta from nothing to a commit of one file, whose operations a test makes up.
struct Forged {
    content: Vec<u8>,
    /// What lies in the heap before the tree.
    builder: PartBuilder,
    metadata: Vec<(ObjectName, Vec<u8>)>,
    commit: Vec<u8>,
}

impl Forged {
    fn of(content: &[u8]) -> Self {
        let file = file_name(content).checksum;
        let name = "file".into();
        let tree = DirTree::new(vec![FileEntry { name, file }], vec![]).unwrap();
        let meta = DirMeta {
            uid: 0,
            gid: 0,
            mode: 0o040_755,
            xattrs: Xattrs::default(),
        };
        let (tree, meta) = (tree.to_bytes(), meta.to_bytes());
        let commit = Commit {
            metadata: Dict::new(),
            parent: None,
            related: vec![],
            subject: "forged".into(),
            body: String::new(),
            timestamp: 1,
            tree: Checksum::of(&tree),
            meta: Checksum::of(&meta),
        };
        let metadata = vec![
            (ObjectName::dirtree(Checksum::of(&tree)), tree),
            (ObjectName::dirmeta(Checksum::of(&meta)), meta),
        ];
        Self {
            content: content.to_vec(),
            builder: PartBuilder::default(),
            metadata,
            commit: commit.to_bytes(),
        }
    }

    /// Makes the delta; `ops` are what makes the file, after those of the metadata.
    fn delta(mut self, ops: &[Op]) -> Bytes {
        let mut objects = Vec::new();
        for (name, bytes) in &self.metadata {
            let offset = self.builder.put(bytes);
            let length = bytes.len() as u64;
            let op = Op::SpliceMetadata { length, offset };
            put_op(&mut self.builder.ops, &op);
            objects.push(*name);
        }
        objects.push(file_name(&self.content));
        for op in ops {
            put_op(&mut self.builder.ops, op);
        }
        self.builder.mode(&header());
        self.builder.xattrs(&header());
        let payload = self.builder.to_bytes();
        bundle(&payload, &objects, &self.commit)
    }
}

/// Puts a payload into a superblock.
fn bundle(payload: &[u8], objects: &[ObjectName], commit: &[u8]) -> Bytes {
    let options = XzOptions {
        level: 1,
        dictionary_bytes: 1 << 20,
        nice_bytes: None,
        branches: XzBranches::None,
    };
    let mut file = RustXz
        .encode(payload, &options.for_input(payload.len()))
        .unwrap();
    file.insert(0, Compression::Xz.byte());
    let name = DeltaName::new(None, Checksum::of(commit));
    let part = Value::Tuple(vec![Value::Byte(file[0]), Value::Bytes(file[1..].to_vec())]);
    let key = format!("{}/0", name.directory());
    let superblock = Superblock {
        metadata: vec![
            (Endianness::KEY.into(), MetaEntry::Value(Value::Byte(b'l'))),
            (key, MetaEntry::Value(part)),
        ],
        timestamp: 1,
        name,
        commit: commit.to_vec(),
        dependencies: vec![],
        endianness: Endianness::Little,
        parts: vec![PartHeader {
            version: 0,
            checksum: Checksum::of(&file),
            stored_bytes: file.len() as u64,
            unpacked_bytes: payload.len() as u64,
            objects: objects.to_vec(),
        }],
        fallbacks: vec![],
    };
    superblock.to_bytes().unwrap().into()
}

fn store(options: MemoryOptions) -> Repo {
    Repo::new(Arc::new(MemoryStore::new(options)))
}

async fn apply_to(repo: &Repo, delta: &Bytes, budget: ApplyBudget) -> Result<()> {
    let mut options = ApplyOptions::default();
    options.budget = budget;
    let bytes = Arc::new(delta.clone());
    let delta = OpenDelta::read(bytes, DeltaPlace::Inside, &options.budget, &Pool::default())?;
    apply(repo, &delta, &options).await.map(drop)
}

async fn is_empty(repo: &Repo) -> bool {
    use futures::StreamExt;
    for object_type in treeferry_core::format::ObjectType::ALL {
        if repo.objects().list(object_type).next().await.is_some() {
            return false;
        }
    }
    true
}

fn splice(length: u64, offset: u64) -> Op {
    Op::SpliceFile {
        mode: 0,
        xattrs: 0,
        length,
        offset,
    }
}

#[tokio::test]
async fn a_delta_is_applied_in_memory_and_spilled() {
    let directory = tempfile::tempdir().unwrap();
    let places = [
        SpillPlace::Memory,
        SpillPlace::Disk(treeferry_core::spill::SpillPlace::new(directory.path())),
    ];
    for place in places {
        for options in [MemoryOptions::default(), MemoryOptions::archive()] {
            let mut forged = Forged::of(b"content");
            let offset = forged.builder.put(b"content");
            let delta = forged.delta(&[splice(7, offset)]);
            let repo = store(options);
            let mut budget = ApplyBudget::default();
            budget.spill = place.clone();
            apply_to(&repo, &delta, budget).await.unwrap();
            assert!(!is_empty(&repo).await);
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn operations_that_make_no_sense_are_refused_and_leave_nothing() {
    let open = Op::Open {
        mode: 0,
        xattrs: 0,
        length: 7,
    };
    let write = Op::Write {
        length: 7,
        offset: 0,
    };
    let set = Op::SetReadSource { offset: 0 };
    let far = u64::MAX - 3;
    let cases: &[&[Op]] = &[
        &[],
        &[Op::Close],
        &[write],
        &[open],
        &[open, write],
        &[open, open, write, Op::Close],
        &[open, splice(7, 0), Op::Close],
        &[splice(7, far)],
        &[splice(far, 7)],
        &[splice(far, far)],
        &[splice(6, 0)],
        &[splice(7, 0), splice(7, 0)],
        &[splice(7, 0), Op::Close],
        &[Op::SpliceFile {
            mode: 1,
            xattrs: 0,
            length: 7,
            offset: 0,
        }],
        &[Op::SpliceFile {
            mode: 0,
            xattrs: far,
            length: 7,
            offset: 0,
        }],
        &[Op::SpliceMetadata {
            length: 7,
            offset: 0,
        }],
        &[
            open,
            Op::Write {
                length: far,
                offset: 7,
            },
            Op::Close,
        ],
        &[open, write, write, Op::Close],
        &[
            Op::Open {
                mode: 0,
                xattrs: 0,
                length: u64::MAX,
            },
            write,
            Op::Close,
        ],
        &[open, Op::SetReadSource { offset: far }, write, Op::Close],
        &[open, set, write, Op::Close],
        &[
            open,
            Op::BsPatch {
                offset: 0,
                length: 24,
            },
            Op::Close,
        ],
        &[
            open,
            set,
            Op::BsPatch {
                offset: 0,
                length: far,
            },
            Op::Close,
        ],
    ];
    for ops in cases {
        let mut forged = Forged::of(b"content");
        forged
            .builder
            .put(b"content, and what else there is for 32 bytes");
        let delta = forged.delta(ops);
        let repo = store(MemoryOptions::default());
        let error = apply_to(&repo, &delta, ApplyBudget::default())
            .await
            .unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Corrupt | ErrorKind::Missing),
            "{ops:?}: {error:?}"
        );
        assert!(is_empty(&repo).await, "{ops:?}");
    }
}

#[tokio::test]
async fn patches_that_lie_are_refused() {
    let old = b"the old file, of some length";
    let steps: &[&[(u64, u64, i64)]] = &[
        &[(7, 0, 0)],
        &[(u64::MAX >> 1, 0, 0)],
        &[(1 << 62, 1 << 62, 0)],
        &[(0, 0, i64::MAX), (0, 7, i64::MAX), (0, 0, 0)],
        &[(0, 0, i64::MIN + 1), (7, 0, 0)],
        &[(0, 8, 0)],
        &[],
    ];
    for steps in steps {
        let mut patch = Vec::new();
        for (diff_bytes, extra_bytes, seek) in *steps {
            let step = PatchStep {
                diff_bytes: *diff_bytes,
                extra_bytes: *extra_bytes,
                seek: *seek,
            };
            write_patch_step(&step, &mut patch);
        }
        let mut forged = Forged::of(b"content");
        let source = forged.builder.put(file_name(old).checksum.as_bytes());
        let offset = forged.builder.put(&patch);
        let length = patch.len() as u64;
        let delta = forged.delta(&[
            Op::Open {
                mode: 0,
                xattrs: 0,
                length: 7,
            },
            Op::SetReadSource { offset: source },
            Op::BsPatch { offset, length },
            Op::Close,
        ]);
        let repo = store(MemoryOptions::default());
        let batch = repo.objects().begin(BatchOptions::default()).await.unwrap();
        let content = Payload::Bytes(Bytes::from_static(old));
        let old = Incoming::recorded_file(header(), old.len() as u64, content);
        assert!(batch.put(vec![old]).await.pop().unwrap().is_ok());
        batch.commit().await.unwrap();
        let error = apply_to(&repo, &delta, ApplyBudget::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{steps:?}: {error:?}");
    }
}

#[tokio::test]
async fn limits_come_from_the_budget() {
    let content = vec![0; 3 << 20];
    let delta = || {
        let mut forged = Forged::of(&content);
        let offset = forged.builder.put(&content);
        forged.delta(&[splice(content.len() as u64, offset)])
    };
    let delta = delta();
    assert!(delta.len() < 64 * 1024, "it is a small bomb");
    let narrow: [fn(&mut ApplyBudget); 5] = [
        |budget| budget.payload_bytes_max = 1 << 20,
        |budget| budget.part_bytes_max = 100,
        |budget| budget.content_bytes_max = 1 << 20,
        |budget| budget.table_bytes_max = 4,
        |budget| budget.superblock_bytes_max = 100,
    ];
    for (number, narrow) in narrow.into_iter().enumerate() {
        let mut budget = ApplyBudget::default();
        narrow(&mut budget);
        let repo = store(MemoryOptions::default());
        let error = apply_to(&repo, &delta, budget).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error:?}");
        assert!(is_empty(&repo).await);
    }
    let mut budget = ApplyBudget::default();
    budget.decoder_bytes_max = 64 * 1024;
    let repo = store(MemoryOptions::default());
    let error = apply_to(&repo, &delta, budget).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    apply_to(&repo, &delta, ApplyBudget::default())
        .await
        .unwrap();
}
