//! The configuration of a repository: a key file, changed by compare-and-swap.

use super::Repo;
use crate::error::{Error, ErrorKind, Result};
use crate::format::keyfile::KeyFile;
use crate::format::{CollectionId, FormatError};
use crate::store::Swap;

/// How often a change is tried against other writers.
const SWAPS_MAX: usize = 16;

impl Repo {
    /// Reads the configuration.
    pub async fn config(&self) -> Result<KeyFile> {
        let bytes = self.state().read_config().await?;
        KeyFile::parse(&bytes).map_err(not_a_key_file)
    }

    /// Changes the configuration. Comments and keys that are not touched stay as they are.
    ///
    /// `change` may run more than once: another writer may have come in between.
    pub async fn change_config(
        &self,
        change: impl Fn(&mut KeyFile) -> Result<()> + Send + Sync,
    ) -> Result<()> {
        for _ in 0..SWAPS_MAX {
            let old = self.state().read_config().await?;
            let mut config = KeyFile::parse(&old).map_err(not_a_key_file)?;
            change(&mut config)?;
            let new = config.to_string();
            if new.as_bytes() == &*old {
                return Ok(());
            }
            if self.state().swap_config(&old, new.into()).await? == Swap::Done {
                return Ok(());
            }
        }
        let problem = "the configuration is being changed by others: try again";
        Err(Error::new(ErrorKind::Locked, problem))
    }

    /// Returns the collection that this repository's own refs belong to.
    pub async fn collection_id(&self) -> Result<Option<CollectionId>> {
        let config = self.config().await?;
        let id = config
            .string("core", "collection-id")
            .map_err(|e| bad("core.collection-id", e))?;
        id.map(|id| CollectionId::new(&id).map_err(|e| bad("core.collection-id", e)))
            .transpose()
    }
}

fn not_a_key_file(error: FormatError) -> Error {
    Error::invalid("the repository's config file cannot be read").because(error)
}

/// Returns an error about a key of the configuration.
pub(crate) fn bad(key: &str, error: FormatError) -> Error {
    Error::invalid("has a value that cannot be used")
        .because(error)
        .about(crate::Subject::ConfigKey(key.to_owned()))
}
