//! Reads metadata objects, verified each time: a hash costs less than the read.

use bytes::Bytes;

use super::Repo;
use crate::error::{Error, Result};
use crate::format::{Checksum, Commit, DirMeta, DirTree, ObjectName};
use crate::pool::Pool;
use crate::store::{Body, Incoming, ObjectSource, Payload};

/// Reads and verifies a metadata object; `None` when `source` does not have it.
pub async fn load_metadata(source: &dyn ObjectSource, name: &ObjectName) -> Result<Option<Bytes>> {
    let Some(body) = source.fetch(name).await.map_err(|e| e.about(*name))? else {
        return Ok(None);
    };
    let incoming = Incoming::named(*name, body);
    let (_, bytes) = match incoming.body() {
        Body::Metadata(Payload::Bytes(_)) => incoming.into_metadata()?,
        _ => {
            Pool::default()
                .run(move || incoming.into_metadata())
                .await?
        }
    };
    Ok(Some(bytes))
}

async fn require(source: &dyn ObjectSource, name: ObjectName) -> Result<Bytes> {
    let bytes = load_metadata(source, &name).await?;
    bytes.ok_or_else(|| Error::missing("is not in the repository").about(name))
}

/// Reads a commit that must be there.
pub async fn load_commit(source: &dyn ObjectSource, checksum: &Checksum) -> Result<Commit> {
    let name = ObjectName::commit(*checksum);
    Commit::parse(&require(source, name).await?).map_err(|e| Error::from(e).about(name))
}

/// Reads a dirtree that must be there.
pub async fn load_dirtree(source: &dyn ObjectSource, checksum: &Checksum) -> Result<DirTree> {
    let name = ObjectName::dirtree(*checksum);
    DirTree::parse(&require(source, name).await?).map_err(|e| Error::from(e).about(name))
}

/// Reads a dirmeta that must be there.
pub async fn load_dirmeta(source: &dyn ObjectSource, checksum: &Checksum) -> Result<DirMeta> {
    let name = ObjectName::dirmeta(*checksum);
    DirMeta::parse(&require(source, name).await?).map_err(|e| Error::from(e).about(name))
}

impl Repo {
    /// Reads a commit that must be there.
    pub async fn load_commit(&self, checksum: &Checksum) -> Result<Commit> {
        load_commit(&*self.objects, checksum).await
    }

    /// Reads a dirtree that must be there.
    pub async fn load_dirtree(&self, checksum: &Checksum) -> Result<DirTree> {
        load_dirtree(&*self.objects, checksum).await
    }

    /// Reads a dirmeta that must be there.
    pub async fn load_dirmeta(&self, checksum: &Checksum) -> Result<DirMeta> {
        load_dirmeta(&*self.objects, checksum).await
    }
}
