//! The old files that a delta reads from, wherever and however they are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::SpillPlace;
use crate::error::{Error, Result, from_read};
use crate::format::delta::ReadAt;
use crate::format::{Checksum, ObjectName};
use crate::repo::Repo;
use crate::store::{Batch, Incoming, LocalContent};

/// How many old files are kept open, because the next object may use them as well.
const OPEN_MAX: usize = 4;

/// Opens old files for reading at any byte.
#[derive(Debug)]
pub(super) struct OldSource<'a> {
    repo: &'a Repo,
    batch: &'a dyn Batch,
    spill: SpillPlace,
    bytes_max: u64,
    open: Mutex<VecDeque<(Checksum, Arc<dyn ReadAt>)>>,
}

impl<'a> OldSource<'a> {
    pub(super) fn new(
        repo: &'a Repo,
        batch: &'a dyn Batch,
        spill: SpillPlace,
        bytes_max: u64,
    ) -> Self {
        Self {
            repo,
            batch,
            spill,
            bytes_max,
            open: Mutex::default(),
        }
    }

    /// Opens a file's content. A plain file is read where it lies: what is made of it is verified.
    pub(super) async fn open(&self, checksum: &Checksum) -> Result<Arc<dyn ReadAt>> {
        // Held while a file is unpacked: two objects may need the same.
        let mut open = self.open.lock().await;
        if let Some((_, found)) = open.iter().find(|(known, _)| known == checksum) {
            return Ok(Arc::clone(found));
        }
        let opened = self.open_new(checksum).await;
        let opened = opened.map_err(|e| e.about(ObjectName::file(*checksum)))?;
        if open.len() >= OPEN_MAX {
            open.pop_front();
        }
        open.push_back((*checksum, Arc::clone(&opened)));
        Ok(opened)
    }

    async fn open_new(&self, checksum: &Checksum) -> Result<Arc<dyn ReadAt>> {
        let name = ObjectName::file(*checksum);
        if let Some(local) = self.repo.objects().local() {
            let checksum = *checksum;
            let plain = self.repo.pool().run(move || {
                let found = local.open_file(&checksum)?;
                let Some(LocalContent::Plain(file)) = found.map(|object| object.content) else {
                    return Ok(None);
                };
                let file = file.open()?;
                let metadata = file.metadata();
                let metadata = metadata.map_err(|e| Error::io("cannot be read", e))?;
                let file: Arc<dyn ReadAt> = Arc::new((file, metadata.len()));
                Ok(Some(file))
            });
            if let Some(file) = plain.await? {
                return Ok(file);
            }
        }
        let missing = || Error::missing("the delta needs it, and it is not in the repository");
        let body = self.batch.fetch(&name).await?.ok_or_else(missing)?;
        let (codec, spill) = (Arc::clone(self.repo.codec()), self.spill.clone());
        let bytes_max = self.bytes_max;
        let unpack = move || {
            let mut content = Incoming::named(name, body).into_content(&*codec)?;
            let mut to = spill.create(bytes_max)?;
            std::io::copy(&mut content, &mut to).map_err(|e| from_read("cannot be read", e))?;
            to.finish()
        };
        self.repo.pool().run(unpack).await
    }
}
