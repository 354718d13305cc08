//! A whole remote that may answer anything, from any path.
//!
//! Its refs lead to commits that are what they hash to, so that what they name is asked for: trees
//! with names and shapes from the input, and files that are right, wrong, endless or absent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, Parts, Sample};
use treeferry_core::archive::{ArchiveLimits, ArchiveRemote};
use treeferry_core::codec::FlateCodec;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{
    Checksum, Commit, ContentLayout, DirEntry, DirTree, FileEntry, FileHeader, ObjectName,
    ObjectType, Summary, SummaryRef, Xattrs,
};
use treeferry_core::ops::pull::{PullOptions, PullRef, PullSource, pull};
use treeferry_core::repo::Repo;
use treeferry_core::store::{Incoming, MemoryStore, RefSpace, RefValue};
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Transport, Validator,
};
use treeferry_core::{Error, ErrorKind, Result};

use crate::input::Input;
use crate::places::quick_retry;

const METADATA_BYTES_MAX: u64 = 64 * 1024;
const CONTENT_BYTES_MAX: u64 = 512 * 1024;

/// How long a pull from here may take: it is all in memory.
const SECONDS_MAX: u64 = 60;

/// More than this of one file nobody may ask for: the limit of configurations, which is the
/// highest here, and what is under way.
const ASKED_BYTES_MAX: u64 = (1024 + 256) * 1024;

/// Pulls from the remote that `data` describes: it may fail, and stores nothing wrong.
pub fn fuzz_remote(data: &[u8]) {
    crate::runtime().block_on(async {
        let remote = Arc::new(Remote::new(data));
        let limits = ArchiveLimits {
            metadata_bytes_max: METADATA_BYTES_MAX,
            content_bytes_max: Some(CONTENT_BYTES_MAX),
        };
        let archive = ArchiveRemote::new(remote.clone()).limited(limits);
        let repo = Repo::new(Arc::new(MemoryStore::default()));
        for branch in [Some("main"), None] {
            let mut options = PullOptions::default();
            let named = branch.map(|branch| PullRef {
                branch: branch.parse().ok(),
                commit: None,
            });
            options.refs = named.into_iter().collect();
            options.replicate.retry = quick_retry();
            options.replicate.limits.metadata_bytes_max = METADATA_BYTES_MAX;
            options.replicate.limits.content_bytes_max = CONTENT_BYTES_MAX;
            let source = PullSource::from(archive.clone());
            let pulled = pull(&repo, &source, &options);
            let limit = Duration::from_secs(SECONDS_MAX);
            let Ok(pulled) = tokio::time::timeout(limit, pulled).await else {
                panic!("a pull has no end");
            };
            check(&repo, pulled.is_ok()).await;
        }
        let most = remote.asked_most.load(Ordering::Relaxed);
        assert!(
            most <= ASKED_BYTES_MAX,
            "{most} bytes of one file were asked for"
        );
    });
}

/// Checks that all that is there is what it is called, and that refs hold whole commits.
async fn check(repo: &Repo, pulled: bool) {
    let mut there = BTreeMap::new();
    for object_type in ObjectType::ALL {
        let listed: Vec<_> = repo
            .objects()
            .list(object_type)
            .try_collect()
            .await
            .expect("listed");
        for listed in listed {
            let body = repo
                .objects()
                .fetch(&listed.name)
                .await
                .expect("fetched")
                .expect("listed");
            let incoming = Incoming::named(listed.name, body);
            let bytes = match object_type.is_metadata() {
                true => {
                    incoming
                        .into_metadata()
                        .expect("a wrong object was stored")
                        .1
                }
                false => {
                    let mut content = incoming
                        .into_content(&FlateCodec)
                        .expect("a wrong object was stored");
                    std::io::copy(&mut content, &mut std::io::sink())
                        .expect("a wrong object was stored");
                    Bytes::new()
                }
            };
            there.insert(listed.name, bytes);
        }
    }
    let refs = repo.refs().list_refs(&RefSpace::All).await.expect("listed");
    assert!(pulled || refs.len() <= 8, "refs moved without end");
    for (name, value) in refs {
        let RefValue::Commit(commit) = value else {
            panic!("{name} is an alias");
        };
        check_whole(&there, commit);
    }
}

fn check_whole(there: &BTreeMap<ObjectName, Bytes>, commit: Checksum) {
    let mut todo = vec![ObjectName::commit(commit)];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = todo.pop() {
        let bytes = there
            .get(&name)
            .unwrap_or_else(|| panic!("{name} of a commit is not there"));
        if !seen.insert(name) {
            continue;
        }
        match name.object_type {
            ObjectType::Commit => {
                let commit = Commit::parse(bytes).expect("it was stored");
                todo.push(ObjectName::dirtree(commit.tree));
                todo.push(ObjectName::dirmeta(commit.meta));
            }
            ObjectType::DirTree => {
                let tree = DirTree::parse(bytes).expect("it was stored");
                todo.extend(tree.files().iter().map(|file| ObjectName::file(file.file)));
                for dir in tree.dirs() {
                    todo.push(ObjectName::dirtree(dir.tree));
                    todo.push(ObjectName::dirmeta(dir.meta));
                }
            }
            _ => {}
        }
    }
}

/// How a file is answered for.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Right,
    Missing,
    Unavailable,
    Denied,
    NotModified,
    Empty,
    CutShort,
    OneBitOff,
    Twice,
    Endless,
    OtherStart,
    OtherTotal,
    Breaks,
    Any,
    Stalls,
}

const MANNERS: [Manner; 14] = [
    Manner::Missing,
    Manner::Unavailable,
    Manner::Denied,
    Manner::NotModified,
    Manner::Empty,
    Manner::CutShort,
    Manner::OneBitOff,
    Manner::Twice,
    Manner::Endless,
    Manner::OtherStart,
    Manner::OtherTotal,
    Manner::Breaks,
    Manner::Any,
    Manner::Stalls,
];

/// A remote that answers as its bytes say.
#[derive(Debug)]
struct Remote {
    files: BTreeMap<RemotePath, Bytes>,
    /// One in how many answers is not right; 0: all are right.
    one_in: u64,
    /// What is answered with where anything is.
    any: Bytes,
    asked: AtomicU64,
    /// The most bytes that anybody took of one answer.
    asked_most: Arc<AtomicU64>,
}

fn path(text: &str) -> RemotePath {
    RemotePath::new(text).expect("it is a path")
}

impl Remote {
    fn new(data: &[u8]) -> Self {
        let mut input = Input::new(data);
        let one_in = [0, 2, 5, 11, 40][input.below(5)];
        let mut remote = Self {
            files: BTreeMap::new(),
            one_in,
            any: Bytes::copy_from_slice(input.take(64)),
            asked: AtomicU64::new(input.byte().into()),
            asked_most: Arc::default(),
        };
        let config = "[core]\nrepo_version=1\nmode=archive-z2\n";
        remote.files.insert(path("config"), config.into());
        let commit = remote.grow(&mut input);
        let named = format!("{commit}\n");
        let wild_ref = input.below(8) == 0;
        let held = if wild_ref {
            Bytes::copy_from_slice(input.take(70))
        } else {
            named.into()
        };
        remote.files.insert(path("refs/heads/main"), held);
        remote.add_summary(&mut input, commit);
        remote
    }

    fn add(&mut self, sample: &Sample) -> Checksum {
        let bytes = match &sample.parts {
            Parts::Metadata(bytes) => bytes.clone(),
            Parts::File(header, content) => samples::filez(header, content).into(),
        };
        let at = format!("objects/{}", sample.name.loose_path(ContentLayout::Archive));
        self.files.insert(path(&at), bytes);
        sample.name.checksum
    }

    /// Makes trees, each of what was made before, and the commit of the last.
    fn grow(&mut self, input: &mut Input<'_>) -> Checksum {
        let meta = self.dirmeta(input);
        let (mut files, mut trees) = (vec![self.file(input)], Vec::new());
        for _ in 0..1 + input.below(24) {
            match input.below(4) {
                0 => files.push(self.file(input)),
                _ => {
                    let tree = self.tree(input, &files, &trees, meta);
                    trees.push(tree);
                }
            }
        }
        let tree = trees
            .last()
            .copied()
            .unwrap_or_else(|| self.tree(input, &files, &[], meta));
        let parent = (input.below(3) == 0).then(|| Checksum::of(input.take(4)));
        let commit = Commit {
            metadata: Dict::new(),
            parent,
            related: Vec::new(),
            subject: String::from_utf8_lossy(input.take(20)).replace('\0', ""),
            body: String::new(),
            timestamp: u64::from(input.byte()) << (8 * input.below(8)),
            tree,
            meta,
        };
        let wild = input.below(10) == 0;
        let bytes = if wild {
            input.take(90).to_vec()
        } else {
            commit.to_bytes()
        };
        self.add(&Sample::metadata(ObjectType::Commit, bytes))
    }

    fn dirmeta(&mut self, input: &mut Input<'_>) -> Checksum {
        let sample = match input.below(8) {
            0 => Sample::metadata(ObjectType::DirMeta, input.take(40).to_vec()),
            _ => samples::dirmeta(0o755),
        };
        self.add(&sample)
    }

    fn file(&mut self, input: &mut Input<'_>) -> Checksum {
        let content = input.take(48).repeat(1 << input.below(14));
        let header = FileHeader {
            uid: input.byte().into(),
            mode: [0o100_644, 0o120_777, 0o104_755, 0o020_644, 0o040_755, 0][input.below(6)],
            symlink_target: String::from_utf8_lossy(input.take(6))
                .replace('\0', "")
                .into(),
            gid: 0,
            xattrs: Xattrs::default(),
        };
        let plain = input.below(3) > 0;
        let header = if plain {
            samples::plain_header(Holds::EVERYTHING)
        } else {
            header
        };
        let content = if header.is_symlink() {
            Vec::new()
        } else {
            content
        };
        self.add(&Sample::file(header, content))
    }

    fn tree(
        &mut self,
        input: &mut Input<'_>,
        files: &[Checksum],
        trees: &[Checksum],
        meta: Checksum,
    ) -> Checksum {
        if input.below(12) == 0 {
            let wild = Sample::metadata(ObjectType::DirTree, input.take(80).to_vec());
            return self.add(&wild);
        }
        let mut entries = Vec::new();
        let mut dirs = Vec::new();
        for i in 0..input.below(4) {
            let file = files[input.below(files.len())];
            entries.push(FileEntry {
                name: format!("f{i}").into(),
                file,
            });
        }
        for i in 0..input.below(4) {
            // Directories of directories: their paths double with each, their objects do not.
            let Some(tree) = trees.get(input.below(trees.len().max(1))) else {
                break;
            };
            dirs.push(DirEntry {
                name: format!("d{i}").into(),
                tree: *tree,
                meta,
            });
        }
        match DirTree::new(entries, dirs) {
            Ok(tree) => self.add(&Sample::metadata(ObjectType::DirTree, tree.to_bytes())),
            Err(_) => self.add(&Sample::metadata(ObjectType::DirTree, Vec::new())),
        }
    }

    fn add_summary(&mut self, input: &mut Input<'_>, commit: Checksum) {
        let bytes = match input.below(3) {
            0 => return,
            1 => input.take(200).to_vec(),
            _ => {
                let entry = SummaryRef {
                    name: "main".into(),
                    commit_bytes: u64::from(input.byte()),
                    commit,
                    metadata: Dict::new(),
                };
                let metadata = Dict::new();
                // A summary of the right shape, with some of its bytes changed.
                let mut wild = Summary {
                    refs: vec![entry],
                    metadata,
                }
                .to_bytes();
                for _ in 0..input.below(4) {
                    let at = input.below(256) % wild.len();
                    wild[at] ^= input.byte();
                }
                wild
            }
        };
        self.files.insert(path("summary"), bytes.into());
    }

    /// Decides how the next answer is.
    fn manner(&self, at: &RemotePath) -> (Manner, u64) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let seed = [at.as_str().as_bytes(), &number.to_be_bytes(), &self.any].concat();
        let hash = Checksum::of(&seed);
        let bytes = hash
            .as_bytes()
            .first_chunk::<8>()
            .copied()
            .unwrap_or_default();
        let chance = u64::from_be_bytes(bytes);
        let manner = match self.one_in {
            0 => Manner::Right,
            one_in if chance % one_in > 0 => Manner::Right,
            one_in => MANNERS[(chance / one_in) as usize % MANNERS.len()],
        };
        (manner, chance >> 20)
    }

    /// Counts what is taken of an answer.
    fn counted(
        &self,
        pieces: BoxStream<'static, Result<Bytes>>,
    ) -> BoxStream<'static, Result<Bytes>> {
        let most = Arc::clone(&self.asked_most);
        let counted = pieces.scan(0, move |taken, piece| {
            *taken += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            most.fetch_max(*taken, Ordering::Relaxed);
            std::future::ready(Some(piece))
        });
        counted.boxed()
    }
}

fn unavailable() -> Error {
    let kind = ErrorKind::Unavailable { retry_after: None };
    Error::new(kind, "the remote does not answer now")
}

fn pieces(bytes: Bytes) -> BoxStream<'static, Result<Bytes>> {
    let pieces = samples::split(&bytes, 5000);
    stream::iter(pieces).boxed()
}

#[async_trait]
impl Transport for Remote {
    fn describe(&self, path: &RemotePath) -> String {
        format!("wild:/{path}")
    }

    fn origin(&self) -> &str {
        "wild:"
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let (manner, chance) = self.manner(path);
        let known = self.files.get(path).cloned();
        let Some(bytes) = known.or_else(|| matches!(manner, Manner::Any).then(|| self.any.clone()))
        else {
            return Ok(None);
        };
        let total = bytes.len() as u64;
        let asked_from = options.resume.as_ref().map_or(0, |resume| resume.offset);
        let (mut offset, mut total_bytes) = (0, Some(total));
        let at = |bytes: &Bytes| (chance % (bytes.len() as u64).max(1)) as usize;
        let bytes = match manner {
            Manner::Missing => return Ok(None),
            Manner::Unavailable => return Err(unavailable()),
            Manner::Denied => return Err(Error::new(ErrorKind::Denied, "the remote refuses")),
            Manner::NotModified => return Ok(Some(Fetched::NotModified)),
            Manner::Empty => pieces(Bytes::new()),
            Manner::CutShort => pieces(bytes.slice(..at(&bytes))),
            Manner::OneBitOff => {
                let mut wrong = bytes.to_vec();
                if let Some(byte) = wrong.get_mut(at(&bytes)) {
                    *byte ^= 1 << (chance % 8);
                }
                pieces(wrong.into())
            }
            Manner::Twice => pieces([bytes.clone(), bytes].concat().into()),
            Manner::Endless => {
                total_bytes = None;
                let zeros = Bytes::from_static(&[0; 16 * 1024]);
                pieces(bytes)
                    .chain(stream::repeat_with(move || Ok(zeros.clone())))
                    .boxed()
            }
            Manner::OtherStart => {
                offset = if chance % 2 == 0 {
                    asked_from + 1
                } else {
                    chance % 100
                };
                pieces(bytes)
            }
            Manner::OtherTotal => {
                total_bytes = Some([0, 1, total + 1, u64::MAX][(chance % 4) as usize]);
                pieces(bytes)
            }
            Manner::Breaks => {
                let some = pieces(bytes.slice(..at(&bytes)));
                some.chain(stream::iter([Err(unavailable())])).boxed()
            }
            Manner::Any => pieces(self.any.clone()),
            Manner::Stalls => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                pieces(bytes)
            }
            Manner::Right if asked_from <= total => {
                offset = asked_from;
                pieces(bytes.slice(asked_from as usize..))
            }
            Manner::Right => pieces(bytes),
        };
        let validator = (chance % 3 > 0).then(|| Validator::ETag(format!("\"{}\"", chance % 2)));
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes,
            validator,
            bytes: self.counted(bytes),
        })))
    }
}
