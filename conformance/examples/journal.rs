//! A backend of somebody else's: files in one journal that only grows.
//!
//! Each record is a path and the bytes that it holds from there on; a record without bytes says
//! that the file is gone. It is an example of what the suite is for: nothing here is known to it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, ListedFile, Precondition, PutAnswer, PutBody, RemotePath,
    Transport, Validator, WritableTransport,
};
use treeferry_core::{Error, Result};

/// A record's header: how long its path is, and how long its bytes are; `GONE` for no file.
const HEADER_BYTES: usize = 16;
const GONE: u64 = u64::MAX;

/// Files in a journal. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Journal {
    address: String,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    journal: File,
    records: u64,
    /// What each path holds, and the number of its record: that is its version.
    files: BTreeMap<RemotePath, (u64, Bytes)>,
}

impl Journal {
    /// Opens the journal at `path`, and makes it if there is none.
    pub fn open(path: PathBuf) -> Result<Self> {
        let address = format!("journal:{}", path.display());
        let cannot = |e| Error::io("cannot be opened", e).about(path.clone());
        let mut options = OpenOptions::new();
        let journal = options.read(true).append(true).create(true).open(&path);
        let mut journal = journal.map_err(cannot)?;
        let mut all = Vec::new();
        journal.read_to_end(&mut all).map_err(cannot)?;
        let mut open = Open {
            journal,
            records: 0,
            files: BTreeMap::new(),
        };
        // What a writer that died left at the end is no record.
        let mut rest = Bytes::from(all);
        while let Some((path, bytes)) = next_record(&mut rest)? {
            open.apply(path, bytes);
        }
        let open = Arc::new(Mutex::new(open));
        Ok(Self { address, open })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_record(rest: &mut Bytes) -> Result<Option<(RemotePath, Option<Bytes>)>> {
    let number = |at: usize| {
        let bytes: [u8; 8] = rest.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    let (Some(path_bytes), Some(held)) = (number(0), number(8)) else {
        return Ok(None);
    };
    let length = if held == GONE { 0 } else { held };
    let path_end = HEADER_BYTES.saturating_add(path_bytes as usize);
    let end = path_end.saturating_add(length as usize);
    if end > rest.len() {
        return Ok(None);
    }
    let path = String::from_utf8_lossy(&rest[HEADER_BYTES..path_end]).into_owned();
    let bytes = (held != GONE).then(|| rest.slice(path_end..end));
    *rest = rest.slice(end..);
    Ok(Some((RemotePath::new(&path)?, bytes)))
}

impl Open {
    fn apply(&mut self, path: RemotePath, bytes: Option<Bytes>) {
        self.records += 1;
        match bytes {
            Some(bytes) => self.files.insert(path, (self.records, bytes)),
            None => self.files.remove(&path),
        };
    }

    /// Makes a record durable, then visible. **Blocking**, which an example may be.
    fn record(&mut self, path: &RemotePath, bytes: Option<Bytes>) -> Result<()> {
        let held = bytes.as_ref().map_or(GONE, |bytes| bytes.len() as u64);
        let mut record = (path.as_str().len() as u64).to_be_bytes().to_vec();
        record.extend(held.to_be_bytes());
        record.extend(path.as_str().as_bytes());
        record.extend(bytes.iter().flatten());
        let written = self
            .journal
            .write_all(&record)
            .and_then(|()| self.journal.sync_data());
        written.map_err(|e| Error::io("cannot be written", e))?;
        self.apply(path.clone(), bytes);
        Ok(())
    }

    fn version(&self, path: &RemotePath) -> Option<Validator> {
        let (number, _) = self.files.get(path)?;
        Some(Validator::ETag(format!("\"{number}\"")))
    }
}

#[async_trait]
impl Transport for Journal {
    fn describe(&self, path: &RemotePath) -> String {
        format!("{}!{path}", self.address)
    }

    fn origin(&self) -> &str {
        &self.address
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let open = self.lock();
        let (Some((_, bytes)), validator) = (open.files.get(path), open.version(path)) else {
            return Ok(None);
        };
        if options.unless.is_some() && options.unless == validator {
            return Ok(Some(Fetched::NotModified));
        }
        let total = bytes.len() as u64;
        if options.bytes_max.is_some_and(|limit| total > limit) {
            let problem = format!("is {total} bytes long, over the limit");
            return Err(
                Error::corrupt(problem).about(treeferry_core::Subject::Url(self.describe(path)))
            );
        }
        let same = |version| Some(version) == validator.as_ref();
        let offset = match &options.resume {
            Some(resume) if same(&resume.validator) && resume.offset <= total => resume.offset,
            _ => 0,
        };
        let rest = bytes.slice(offset as usize..);
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes: Some(total),
            validator,
            bytes: stream::iter([Ok(rest)]).boxed(),
        })))
    }
}

#[async_trait]
impl WritableTransport for Journal {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let bytes = match body {
            PutBody::Bytes(bytes) => bytes,
            PutBody::Stream {
                total_bytes,
                mut bytes,
            } => {
                let mut all = BytesMut::new();
                while let Some(piece) = bytes.try_next().await? {
                    all.extend_from_slice(&piece);
                }
                if all.len() as u64 != total_bytes {
                    return Err(Error::invalid("as many bytes must come as were announced"));
                }
                all.freeze()
            }
        };
        let mut open = self.lock();
        let current = open.version(path);
        let holds = match precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Unchanged(expected) => current == Some(expected),
        };
        if !holds {
            return Ok(PutAnswer::Conflict);
        }
        open.record(path, Some(bytes))?;
        let validator = open.version(path);
        Ok(PutAnswer::Done { validator })
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let mut open = self.lock();
        for path in paths {
            if open.files.contains_key(path) {
                open.record(path, None)?;
            }
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        let open = self.lock();
        let below = open
            .files
            .iter()
            .filter(|(path, _)| path.as_str().starts_with(prefix));
        let listed = below.map(|(path, (_, bytes))| {
            Ok(ListedFile {
                path: path.clone(),
                bytes: bytes.len() as u64,
                modified: None,
            })
        });
        stream::iter(listed.collect::<Vec<_>>()).boxed()
    }
}

/// Puts the bytes of standard input at a path of a journal, or lists what it holds.
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(journal) = arguments.next() else {
        println!("usage: journal FILE [PATH]");
        return Ok(());
    };
    let journal = Journal::open(journal.into())?;
    futures::executor::block_on(async {
        let Some(path) = arguments.next() else {
            let mut listed = journal.list("");
            while let Some(file) = listed.try_next().await? {
                println!("{:>10} {}", file.bytes, file.path);
            }
            return Ok(());
        };
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map_err(|e| Error::io("standard input cannot be read", e))?;
        let body = PutBody::Bytes(bytes.into());
        let path = RemotePath::new(&path)?;
        journal.put(&path, Precondition::None, body).await?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use tempfile::TempDir;
    use treeferry_conformance::{
        ListedTimes, TransportFixture, TransportProfile, publish_by_put, withdraw_by_delete,
    };

    use super::*;

    /// A journal in a directory that goes when this does.
    struct OneJournal {
        directory: TempDir,
        /// One process has a journal open once.
        open: Mutex<Weak<Mutex<Open>>>,
    }

    impl OneJournal {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory can be made");
            Self {
                directory,
                open: Mutex::default(),
            }
        }
    }

    impl TransportFixture for OneJournal {
        type Transport = Journal;

        async fn open(&self) -> Result<Journal> {
            let path = self.directory.path().join("journal");
            let mut known = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = known.upgrade() {
                let address = format!("journal:{}", path.display());
                return Ok(Journal { address, open });
            }
            let journal = Journal::open(path)?;
            *known = Arc::downgrade(&journal.open);
            Ok(journal)
        }

        async fn another(&self) -> Result<Self> {
            Ok(Self::new())
        }

        async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
            publish_by_put(&TransportFixture::open(self).await?, path, bytes).await
        }

        async fn withdraw(&self, path: &RemotePath) -> Result<()> {
            withdraw_by_delete(&TransportFixture::open(self).await?, path).await
        }

        fn profile(&self) -> TransportProfile {
            TransportProfile {
                listed_times: ListedTimes::Unknown,
                ..TransportProfile::default()
            }
        }
    }

    treeferry_conformance::transport_suite!(reading, OneJournal::new());
    treeferry_conformance::writable_transport_suite!(writing, OneJournal::new());
}
