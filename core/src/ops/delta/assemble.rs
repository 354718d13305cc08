//! Puts a delta together from its superblock and what finished parts left: signed, and written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::Mutex;

use super::generate::PartSink;
use super::spill::Spill;
use super::{GenerateOptions, GenerateReport, SpillPlace, generate};
use crate::error::{Error, Result, from_read};
use crate::format::delta::{
    Chunk, DeltaFile, DeltaName, Inline, MetaEntry, Range, ReadAt, SignedSuperblock, Superblock,
};
use crate::format::gvariant::{Dict, Value};
use crate::pool::Pool;
use crate::repo::Repo;
use crate::sign::{Signer, add_signature};
use crate::transport::PutBody;

/// How much is read or written in one job of the pool, bytes.
const STEP_BYTES: usize = 1 << 20;

/// Where a delta goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Among the deltas that the repository keeps.
    Kept,
    /// To a file; parts that are not inside of it beside it, called by their numbers.
    File(PathBuf),
}

/// Whether parts stand inside of the superblock.
#[derive(Debug, Clone)]
pub enum PartsIn {
    /// In files of their own.
    Files,
    /// In the superblock: one file is the whole delta. They wait there until all are made.
    Superblock(SpillPlace),
}

/// How to make a delta, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MakeOptions {
    /// How to make it.
    pub generate: GenerateOptions,
    /// Where it goes.
    pub to: Destination,
    /// Where its parts go.
    pub parts: PartsIn,
    /// More metadata of the superblock.
    pub metadata: Vec<(String, Value)>,
    /// Who signs it. The superblock is held in memory for that.
    pub signers: Vec<Arc<dyn Signer>>,
}

impl Default for MakeOptions {
    fn default() -> Self {
        Self {
            generate: GenerateOptions::default(),
            to: Destination::Kept,
            parts: PartsIn::Files,
            metadata: Vec::new(),
            signers: Vec::new(),
        }
    }
}

/// Makes a delta, and keeps or writes it. The superblock comes last: with it, the delta is there.
pub async fn make(repo: &Repo, name: &DeltaName, options: &MakeOptions) -> Result<GenerateReport> {
    let sink = Sink::new(repo, name, options).await?;
    if options.to == Destination::Kept {
        // Of an older one of the same name nothing must stay.
        super::keep::delete_kept(repo, name).await?;
    }
    let (mut superblock, report) = generate(repo, name, &options.generate, &sink).await?;
    for (key, value) in &options.metadata {
        let entry = MetaEntry::Value(value.clone());
        superblock.metadata.push((key.clone(), entry));
    }
    let parts = sink.finish().await?;
    let mut assembled = Assembled::new(&superblock, parts);
    if !options.signers.is_empty() {
        assembled = assembled.sign(&options.signers, repo.pool()).await?;
    }
    match &options.to {
        Destination::Kept => {
            let file = DeltaFile::Superblock(*name);
            let body = assembled.into_body(repo.pool());
            repo.state().write_delta_file(&file, body).await?;
        }
        Destination::File(path) => {
            let path = path.clone();
            let write = move || write_file(&path, &mut assembled.into_reader());
            repo.pool().run(write).await?;
        }
    }
    Ok(report)
}

/// Writes a file so that nobody sees a part of it under its name. **Blocking.**
fn write_file(path: &Path, from: &mut dyn Read) -> Result<()> {
    let failed = |e| Error::io("cannot be written", e).about(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let pending = path.with_file_name(format!(".{name}.treeferry-new"));
    let mut written = || -> Result<()> {
        let mut file = File::create(&pending).map_err(failed)?;
        io::copy(from, &mut file).map_err(|e| from_read("cannot be written", e))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&pending, path).map_err(failed)
    };
    let outcome = written();
    if outcome.is_err() {
        // It is nothing to anybody.
        let _ = std::fs::remove_file(&pending);
    }
    outcome
}

/// Where finished parts go.
enum Sink {
    Kept(Repo, DeltaName),
    Directory(PathBuf, Pool),
    Spill(Mutex<Option<Spill>>, Pool),
}

impl Sink {
    async fn new(repo: &Repo, name: &DeltaName, options: &MakeOptions) -> Result<Self> {
        let pool = repo.pool().clone();
        if let PartsIn::Superblock(place) = &options.parts {
            let place = place.clone();
            let spill = pool.run(move || place.create(u64::MAX)).await?;
            return Ok(Self::Spill(Mutex::new(Some(spill)), pool));
        }
        Ok(match &options.to {
            Destination::Kept => Self::Kept(repo.clone(), *name),
            Destination::File(path) => {
                let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new(".")).to_path_buf();
                Self::Directory(directory, pool)
            }
        })
    }

    async fn finish(self) -> Result<Arc<dyn ReadAt>> {
        match self {
            Self::Spill(spill, _) => match spill.into_inner() {
                Some(spill) => spill.finish(),
                None => Err(Error::invalid("a part was not kept")),
            },
            Self::Kept(..) | Self::Directory(..) => Ok(Arc::new(Bytes::new())),
        }
    }
}

#[async_trait]
impl PartSink for Sink {
    async fn put(&self, number: usize, file: Bytes) -> Result<Option<Inline>> {
        match self {
            Self::Kept(repo, name) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let part = DeltaFile::Part(*name, number);
                let body = PutBody::Bytes(file);
                repo.state().write_delta_file(&part, body).await?;
                Ok(None)
            }
            Self::Directory(directory, pool) => {
                let path = directory.join(number.to_string());
                pool.run(move || write_file(&path, &mut &file[..])).await?;
                Ok(None)
            }
            Self::Spill(spill, pool) => {
                let mut held = spill.lock().await;
                let lost = || Error::invalid("an earlier part was not kept");
                let mut spill = held.take().ok_or_else(lost)?;
                let range = Range {
                    offset: spill.written_bytes(),
                    bytes: file.len() as u64,
                };
                let write = move || {
                    let written = spill.write_all(&file);
                    written.map_err(|e| from_read("cannot be kept", e))?;
                    Ok(spill)
                };
                *held = Some(pool.run(write).await?);
                Ok(Some(Inline(range)))
            }
        }
    }
}

/// The bytes of a superblock, parts included, in pieces.
pub(super) struct Assembled {
    chunks: Vec<Chunk>,
    parts: Arc<dyn ReadAt>,
}

impl Assembled {
    pub(super) fn new(superblock: &Superblock, parts: Arc<dyn ReadAt>) -> Self {
        Self {
            chunks: superblock.to_chunks(),
            parts,
        }
    }

    fn total_bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::bytes).sum()
    }

    async fn sign(self, signers: &[Arc<dyn Signer>], pool: &Pool) -> Result<Self> {
        let (chunks, parts) = (self.chunks.clone(), Arc::clone(&self.parts));
        let read = move || {
            let mut bytes = Vec::new();
            let mut reader = Self { chunks, parts }.into_reader();
            reader
                .read_to_end(&mut bytes)
                .map_err(|e| from_read("cannot be read", e))?;
            Ok(bytes)
        };
        let bytes = pool.run(read).await?;
        let mut signatures = Dict::new();
        for signer in signers {
            let signature = signer.sign(&bytes).await?;
            add_signature(&mut signatures, signer.scheme(), signature)?;
        }
        let (before, after) = SignedSuperblock::wrap(self.total_bytes(), &signatures);
        let mut chunks = vec![Chunk::Bytes(before)];
        chunks.extend(self.chunks);
        chunks.push(Chunk::Bytes(after));
        Ok(Self {
            chunks,
            parts: self.parts,
        })
    }

    pub(super) fn into_reader(self) -> impl Read + Send {
        ChunkReader {
            chunks: self.chunks.into_iter(),
            current: Chunk::Bytes(Vec::new()),
            at: 0,
            parts: self.parts,
        }
    }

    fn into_body(self, pool: &Pool) -> PutBody {
        let (total_bytes, pool) = (self.total_bytes(), pool.clone());
        let reader = self.into_reader();
        let bytes = stream::try_unfold(reader, move |mut reader| {
            let pool = pool.clone();
            async move {
                let step = move || {
                    let mut bytes = Vec::new();
                    let mut limited = (&mut reader).take(STEP_BYTES as u64);
                    limited
                        .read_to_end(&mut bytes)
                        .map_err(|e| from_read("cannot be read", e))?;
                    Ok((bytes, reader))
                };
                let (bytes, reader) = pool.run(step).await?;
                Ok(match bytes.is_empty() {
                    true => None,
                    false => Some((Bytes::from(bytes), reader)),
                })
            }
        });
        PutBody::Stream {
            total_bytes,
            bytes: bytes.boxed(),
        }
    }
}

struct ChunkReader {
    chunks: std::vec::IntoIter<Chunk>,
    current: Chunk,
    at: u64,
    parts: Arc<dyn ReadAt>,
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.current.bytes() {
            match self.chunks.next() {
                Some(chunk) => (self.current, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let left = self.current.bytes() - self.at;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        match &self.current {
            Chunk::Bytes(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(0);
                out[..n].copy_from_slice(&bytes[at..at + n]);
            }
            Chunk::Part(range) => {
                self.parts
                    .read_exact_at(range.offset + self.at, &mut out[..n])?;
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}
