//! A repository: objects, refs and state, and what is read from them together.

mod config;
mod depth;
mod load;
mod load_many;
mod measure;
mod progress;
mod reach;
mod remote;
mod remotes;
mod resolve;
mod tree;

use std::sync::Arc;

use crate::codec::{Codec, FlateCodec};
use crate::pool::Pool;
use crate::spill::Spill;
use crate::store::{ObjectStore, RefStore, RepoState};

pub(crate) use config::bad;
pub use depth::Depth;
pub use load::{load_commit, load_dirmeta, load_dirtree, load_metadata};
pub(crate) use load_many::load_many;
pub(crate) use measure::{MeasuredTree, measure_and_keep, read_local_dirtree, read_local_metadata};
pub use measure::{TreeLimits, TreeMeasure, measure_tree};
pub use progress::{Amount, Certainty, Count, Phase, Progress, Snapshot};
pub use reach::{History, ReachOptions, ReachProblem, ReachRoot, ReachScope, Reachable};
pub use remote::RemoteRepo;
pub use remotes::{IfExists, NewRemote, Permitted, RemoteConfig, Required, TlsConfig};
pub use resolve::Rev;
pub(crate) use tree::split_path;
pub use tree::{TreeEntry, TreeRoot};

/// A repository, of whatever its three parts are made. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repo {
    objects: Arc<dyn ObjectStore>,
    refs: Arc<dyn RefStore>,
    state: Arc<dyn RepoState>,
    codec: Arc<dyn Codec>,
    pool: Pool,
    address: Option<Arc<str>>,
    spill: Spill,
}

impl Repo {
    /// Puts a repository together from its parts.
    ///
    /// Names of objects that are too many for memory go where the objects say, if they are files
    /// of this machine; see [`with_spill`](Self::with_spill).
    pub fn from_parts(
        objects: Arc<dyn ObjectStore>,
        refs: Arc<dyn RefStore>,
        state: Arc<dyn RepoState>,
    ) -> Self {
        let place = objects.local().and_then(|local| local.spill_place());
        Self {
            objects,
            refs,
            state,
            codec: Arc::new(FlateCodec),
            pool: Pool::default(),
            address: None,
            spill: Spill::to(place),
        }
    }

    /// Makes a repository of one value that is all three parts.
    pub fn new<T: ObjectStore + RefStore + RepoState>(all: Arc<T>) -> Self {
        Self::from_parts(all.clone(), all.clone(), all)
    }

    /// Uses another codec for what this handle itself compresses and decompresses.
    #[must_use]
    pub fn with_codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.codec = codec;
        self
    }

    /// Uses another pool for blocking work.
    #[must_use]
    pub fn with_pool(mut self, pool: Pool) -> Self {
        self.pool = pool;
        self
    }

    /// Sets the address by which messages name the repository.
    #[must_use]
    pub fn at(mut self, address: impl Into<Arc<str>>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Keeps names of objects elsewhere when there are too many for memory.
    #[must_use]
    pub fn with_spill(mut self, spill: Spill) -> Self {
        self.spill = spill;
        self
    }

    /// Returns the objects.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Returns the refs.
    pub fn refs(&self) -> &Arc<dyn RefStore> {
        &self.refs
    }

    /// Returns the state.
    pub fn state(&self) -> &Arc<dyn RepoState> {
        &self.state
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Arc<dyn Codec> {
        &self.codec
    }

    /// Returns the pool for blocking work.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns where names of objects go when there are too many for memory.
    pub fn spill(&self) -> &Spill {
        &self.spill
    }
}
