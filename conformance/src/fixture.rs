//! A place under test, and what it says of itself.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use treeferry_core::format::FileHeader;
use treeferry_core::store::{Encoding, ObjectStore, RefAtomicity, RefStore, RepoState};
use treeferry_core::{Error, Result};

/// A place under test: empty when it is made, gone when it is dropped.
pub trait Fixture: Send + Sync + Sized + 'static {
    /// A handle on the place; it implements the traits whose suites are run.
    type Store: Send + Sync + 'static;

    /// Opens the place, once more if it is open. What one handle did another sees.
    ///
    /// A handle waits about a tenth of a second for a lock, so that the checks need not wait long.
    fn open(&self) -> impl Future<Output = Result<Self::Store>> + Send;

    /// Makes an empty place of the same kind.
    fn another(&self) -> impl Future<Output = Result<Self>> + Send;

    /// Returns what this kind of place can do.
    fn profile(&self) -> Profile;
}

/// What places may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// How content lies there.
    pub encoding: Encoding,
    /// Which file headers it can hold.
    pub holds: Holds,
    /// What others see of a batch before it is committed.
    pub visibility: Visibility,
    /// What becomes of the verified objects of a dropped batch.
    pub unfinished: Unfinished,
    /// Whether half-done downloads can wait there.
    pub scratch: ScratchPlace,
    /// Whether listings tell times.
    pub listed_times: ListedTimes,
    /// Whether several refs move as one.
    pub ref_atomicity: RefAtomicity,
    /// Whether a ref can lie below another.
    pub nested_refs: NestedRefs,
}

impl Default for Profile {
    /// Returns the profile of a repository of plain files that can hold everything.
    fn default() -> Self {
        Self {
            encoding: Encoding::Canonical,
            holds: Holds::EVERYTHING,
            visibility: Visibility::AtCommit,
            unfinished: Unfinished::Kept,
            scratch: ScratchPlace::Present,
            listed_times: ListedTimes::Known,
            ref_atomicity: RefAtomicity::Each,
            nested_refs: NestedRefs::Refused,
        }
    }
}

impl Profile {
    /// Returns the profile of a repository that lies as an archive behind a writable transport.
    #[must_use]
    pub fn archive() -> Self {
        Self {
            encoding: Encoding::Filez,
            visibility: Visibility::ChildrenFirst,
            unfinished: Unfinished::Visible,
            scratch: ScratchPlace::Absent,
            ..Self::default()
        }
    }
}

/// Which file headers a place can hold. What it cannot hold it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Owners of files.
    pub owners: HeldOwners,
    /// Modes of regular files.
    pub modes: Modes,
    /// Extended attributes.
    pub xattrs: HeldXattrs,
}

impl Holds {
    /// Any header.
    pub const EVERYTHING: Self = Self {
        owners: HeldOwners::Any,
        modes: Modes::Any,
        xattrs: HeldXattrs::Any,
    };

    /// Only files of root, with modes within 0775 and without extended attributes.
    pub const CANONICAL: Self = Self {
        owners: HeldOwners::Only { uid: 0, gid: 0 },
        modes: Modes::Within0775,
        xattrs: HeldXattrs::None,
    };

    /// Returns whether `header` can be held.
    pub fn can_hold(&self, header: &FileHeader) -> bool {
        let owner = match self.owners {
            HeldOwners::Any => true,
            HeldOwners::Only { uid, gid } => (header.uid, header.gid) == (uid, gid),
        };
        let mode = match self.modes {
            Modes::Any => true,
            Modes::Within0775 => header.is_symlink() || header.mode & 0o7777 & !0o775 == 0,
        };
        let xattrs = match self.xattrs {
            HeldXattrs::Any => true,
            HeldXattrs::User => {
                let user = |(name, _): (&[u8], &[u8])| name.starts_with(b"user.");
                header.xattrs.iter().all(user) && (header.xattrs.is_empty() || !header.is_symlink())
            }
            HeldXattrs::None => header.xattrs.is_empty(),
        };
        owner && mode && xattrs
    }
}

/// Which owners of files a place can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOwners {
    /// Any.
    Any,
    /// These alone.
    Only {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

/// Which modes of regular files a place can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Any.
    Any,
    /// No more than `rwxrwxr-x`.
    Within0775,
}

/// Which extended attributes of files a place can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldXattrs {
    /// Any, of any name.
    Any,
    /// Those of the `user.` name space on regular files, as filesystems allow.
    User,
    /// None.
    None,
}

/// What others see of a batch before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Nothing.
    AtCommit,
    /// Each object as soon as its children are there.
    ChildrenFirst,
}

/// What becomes of the verified objects of a batch that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// The next batch that adopts leftovers has them.
    Kept,
    /// They are gone.
    Lost,
    /// Those that lack no children are there, for all to see.
    Visible,
}

/// Whether half-done downloads can wait in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScratchPlace {
    /// They can.
    Present,
    /// They cannot: the store says so.
    Absent,
}

/// Whether listings tell when an object was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedTimes {
    /// They do.
    Known,
    /// They never do.
    Unknown,
}

/// Whether a place can hold both the ref `a` and the ref `a/b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedRefs {
    /// It refuses the second as invalid.
    Refused,
    /// It holds both.
    Held,
}

/// A [`Fixture`], seen by the checks of one suite; `S` is the trait under test.
#[async_trait]
pub trait Place<S: ?Sized>: Send + Sync {
    /// Opens the place.
    async fn open(&self) -> Result<Arc<S>>;

    /// Makes an empty place of the same kind.
    async fn another(&self) -> Result<Box<dyn Place<S>>>;

    /// Returns what this kind of place can do.
    fn profile(&self) -> Profile;
}

macro_rules! place_of {
    ($subject:ident) => {
        #[async_trait]
        impl<F: Fixture> Place<dyn $subject> for F
        where
            F::Store: $subject,
        {
            async fn open(&self) -> Result<Arc<dyn $subject>> {
                let store = Fixture::open(self).await.map_err(during_open)?;
                Ok(Arc::new(store))
            }

            async fn another(&self) -> Result<Box<dyn Place<dyn $subject>>> {
                Ok(Box::new(Fixture::another(self).await?))
            }

            fn profile(&self) -> Profile {
                Fixture::profile(self)
            }
        }
    };
}

place_of!(ObjectStore);
place_of!(RefStore);
place_of!(RepoState);

fn during_open(error: Error) -> Error {
    error.context("the fixture cannot be opened")
}
