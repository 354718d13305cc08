//! Wrong batches.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use treeferry_conformance::Holds;
use treeferry_core::codec::FlateCodec;
use treeferry_core::error::from_read;
use treeferry_core::format::{FileHeader, ObjectName, ObjectType, read_header_frame};
use treeferry_core::store::{
    Batch, BatchStats, Body, Encoding, Incoming, LocalObjects, LockGuard, ObjectSource, Payload,
    Put, ResumableSource, Stat, Stored,
};
use treeferry_core::{Error, ErrorKind, Result};

use super::objects::Raw;
use super::{Fault, Faulty};

#[derive(Debug)]
pub(super) struct FaultyBatch {
    store: Faulty,
    inner: Box<dyn Batch>,
    put: Mutex<Vec<ObjectName>>,
    _lock: Option<LockGuard>,
}

impl FaultyBatch {
    pub(super) fn new(store: Faulty, inner: Box<dyn Batch>, lock: Option<LockGuard>) -> Self {
        Self {
            store,
            inner,
            put: Mutex::default(),
            _lock: lock,
        }
    }

    async fn put_one(&self, incoming: Incoming) -> Result<Put> {
        let incoming = match self.store.fault {
            Fault::DeflatesAgain => inflate(incoming).await?,
            Fault::HoldsOnlyCanonicalHeaders => refuse_odd(incoming)?,
            _ => incoming,
        };
        let (name, raw) = (incoming.name(), Raw::of(&incoming));
        let answer = self.inner.put(vec![incoming]).await.remove(0);
        match (self.store.fault, answer, name, raw) {
            (Fault::StoresUnverifiedBytes, Err(error), Some(name), Some(raw))
                if error.kind() == ErrorKind::Corrupt =>
            {
                Ok(self.make_up(name, raw))
            }
            (Fault::KeepsHalfAnObject, Err(error), Some(name), _) => {
                self.make_up(name, Raw::Metadata("half".into()));
                Err(error)
            }
            (Fault::CallsEveryErrorCorrupt, Err(error), ..) => {
                Err(Error::corrupt("cannot be put").because(error))
            }
            (Fault::SaysNewForPresent, Ok(put), ..) => Ok(Put {
                stored: Stored::New,
                ..put
            }),
            (_, answer, ..) => answer,
        }
    }

    fn make_up(&self, name: ObjectName, raw: Raw) -> Put {
        let mut false_objects = self.store.shared.false_objects.lock().unwrap();
        false_objects.insert(name, raw);
        Put {
            name,
            stored: Stored::New,
            unpacked_bytes: 1,
            stored_bytes: 1,
        }
    }

    fn show_early(&self, names: impl IntoIterator<Item = ObjectName>) {
        self.store.shared.early.lock().unwrap().extend(names);
    }
}

/// Takes a `.filez` apart, so that the store has to deflate it anew.
async fn inflate(incoming: Incoming) -> Result<Incoming> {
    if !matches!(incoming.body(), Body::Filez { .. }) {
        return Ok(incoming);
    }
    let inflate = move || {
        let name = incoming.name();
        let mut reader = incoming.into_content(&FlateCodec)?;
        let mut content = Vec::new();
        let read = reader.read_to_end(&mut content);
        read.map_err(|e| from_read("cannot be read", e))?;
        let body = Body::File {
            header: reader.header().clone(),
            content_bytes: reader.content_bytes(),
            content: Payload::Bytes(content.into()),
        };
        Ok(Incoming::named(name.expect("samples are named"), body))
    };
    tokio::task::spawn_blocking(inflate).await.unwrap()
}

fn refuse_odd(incoming: Incoming) -> Result<Incoming> {
    let header = match (incoming.body(), Raw::of(&incoming)) {
        (Body::File { header, .. }, _) => Some(header.clone()),
        (_, Some(Raw::Filez(bytes))) => read_header_frame(&mut &bytes[..])
            .ok()
            .and_then(|frame| Some(FileHeader::parse_filez(&frame).ok()?.0)),
        _ => None,
    };
    match header {
        Some(header) if !Holds::CANONICAL.can_hold(&header) => {
            Err(Error::unsupported("only canonical headers are held"))
        }
        _ => Ok(incoming),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for FaultyBatch {
    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = self.inner.stat(names).await?;
        self.store.spoil_stats(names, &mut stats);
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let body = self.inner.fetch(name).await?;
        Ok(body.or_else(|| self.store.false_body(name)))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.inner.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.inner.resumable()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for FaultyBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let puts = objects.into_iter().map(|object| self.put_one(object));
        let mut answers = futures::future::join_all(puts).await;
        let names: Vec<_> = answers.iter().flatten().map(|put| put.name).collect();
        if self.store.fault == Fault::ShowsObjectsBeforeCommit {
            self.show_early(names.clone());
        }
        self.put.lock().unwrap().extend(names);
        if self.store.fault == Fault::AnswersPutsBackwards {
            answers.reverse();
        }
        answers
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        let put = self.put.lock().unwrap().clone();
        let early = &self.store.shared.early;
        match self.store.fault {
            Fault::ShowsCommitsFirst => {
                let commits = put.iter().filter(|n| n.object_type == ObjectType::Commit);
                self.show_early(commits.copied());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Fault::LosesTheLastOfALargeBatch if put.len() > 100 => {
                self.store.shared.lost.lock().unwrap().extend(put.last());
            }
            _ => {}
        }
        let mut stats = self.inner.commit().await?;
        early.lock().unwrap().retain(|name| !put.contains(name));
        if self.store.fault == Fault::CountsPresentAsWritten {
            stats.content_written = stats.content_total;
            stats.metadata_written = stats.metadata_total;
        }
        Ok(stats)
    }
}
