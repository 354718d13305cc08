//! The refs: each is a file that is compared and swapped.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};

use tokio::time::sleep;

use super::{ArchiveStore, Place};
use crate::archive::FileVersion;
use crate::archive::layout;
use crate::archive::read;
use crate::archive::ref_file::{PLAIN_BYTES, REF_BYTES_MAX, RefFile};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::{Branch, Checksum, ObjectName};
use crate::store::ref_rules::{check_nesting, check_set};
use crate::store::{RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue};
use crate::transport::{PutAnswer, retrying};

/// How many refs are read at once.
const READS_AT_ONCE: usize = 16;

/// How often a ref is tried to be moved while others move it.
const SWAPS_MAX: u32 = 256;

/// How long to wait when a server says that what is not there is there: it may take it a moment to
/// forget what was deleted.
const FORGETTING: Duration = Duration::from_millis(20);
const FORGETTING_MAX: u32 = 10;

/// How many aliases may follow on each other; as in a directory.
const ALIASES_MAX: usize = 40;

/// A ref as it was read.
struct Current {
    file: RefFile,
    version: FileVersion,
}

impl Place {
    async fn read_ref(&self, name: &RefName) -> Result<Option<Current>> {
        let path = layout::ref_path(name);
        let Some(version) = self.read(&path, REF_BYTES_MAX).await? else {
            return Ok(None);
        };
        let url = || read::url(&*self.transport, &path);
        let file = RefFile::parse(&version.bytes).map_err(|e| Error::from(e).about(url()))?;
        Ok(Some(Current { file, version }))
    }

    /// Returns the refs below `prefix`, and how long each file is.
    async fn list_ref_files(&self, space: &RefSpace) -> Result<Vec<(RefName, u64)>> {
        let prefix = layout::refs_prefix(space);
        let once = async || {
            let files = self.transport.list(&prefix);
            let refs = files.try_filter_map(|file| async move {
                let name = layout::parse_ref_path(&file.path);
                if name.is_none() {
                    tracing::warn!(path = %file.path, "is no ref, and was left out");
                }
                Ok(name.map(|name| (name, file.bytes)))
            });
            refs.try_collect().await
        };
        retrying(&self.options.retry, || Box::pin(once())).await
    }

    /// Returns the commit that `name` means in the end; `None` if there is none.
    async fn follow(&self, name: &RefName) -> Result<Option<Checksum>> {
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            match self.read_ref(&name).await? {
                None => return Ok(None),
                Some(Current { file, .. }) => match file.alias {
                    None => return Ok(Some(file.commit)),
                    Some(branch) => name = beside(&name, branch),
                },
            }
        }
        Ok(None)
    }

    async fn file_of(&self, name: &RefName, value: &RefValue) -> Result<RefFile> {
        Ok(match value {
            RefValue::Commit(commit) => RefFile {
                commit: *commit,
                alias: None,
            },
            RefValue::Alias(target) => {
                let meant = match target == name {
                    true => None,
                    false => self.follow(target).await?,
                };
                RefFile {
                    commit: meant.unwrap_or(Checksum::from_bytes([0; 32])),
                    alias: Some(target.branch().clone()),
                }
            }
        })
    }

    /// Compares and swaps one ref.
    async fn update_ref(&self, update: &RefUpdate) -> Result<RefAnswer> {
        let path = layout::ref_path(&update.name);
        let mut denials = 0;
        for _ in 0..SWAPS_MAX {
            let current = self.read_ref(&update.name).await?;
            let value = current.as_ref().map(|c| value_of(&update.name, &c.file));
            if !update.expected.matches(value.as_ref()) {
                return Ok(RefAnswer::Conflict { current: value });
            }
            let Some(new) = &update.new else {
                // There is no conditional delete: between looking and this it may have moved.
                if current.is_some() {
                    self.delete(std::slice::from_ref(&path)).await?;
                }
                return Ok(RefAnswer::Committed);
            };
            let bytes = self.file_of(&update.name, new).await?.to_bytes();
            let version = current.as_ref().map(|current| &current.version);
            if version.is_some_and(|version| version.bytes == bytes) {
                return Ok(RefAnswer::Committed);
            }
            let unchanged = self.unchanged(&path, version)?;
            if let PutAnswer::Done { .. } = self.write_if(&path, unchanged, bytes).await? {
                return Ok(RefAnswer::Committed);
            }
            denials = if version.is_none() { denials + 1 } else { 0 };
            if denials >= FORGETTING_MAX {
                break;
            }
            if denials > 1 {
                sleep(FORGETTING * (1 << denials)).await;
            }
        }
        let problem = match denials {
            0..FORGETTING_MAX => "is being moved by others all the time: try again",
            _ => "cannot be made: the server says that it is there, and it is not",
        };
        let error = Error::new(ErrorKind::Locked, problem);
        Err(error.about(Subject::Ref(update.name.to_string())))
    }

    /// Writes aliases anew that mean one of `moved`: who cannot follow reads the commit in them.
    async fn refresh_aliases(
        &self,
        files: &[(RefName, u64)],
        moved: &HashMap<&RefName, &RefAnswer>,
    ) -> Result<()> {
        let aliases = files.iter().filter(|(_, bytes)| *bytes > PLAIN_BYTES);
        for (name, _) in aliases {
            let Some(current) = self.read_ref(name).await? else {
                continue;
            };
            let Some(branch) = current.file.alias.clone() else {
                continue;
            };
            let value = RefValue::Alias(beside(name, branch));
            let fresh = self.file_of(name, &value).await?;
            if fresh != current.file && !moved.contains_key(name) {
                let path = layout::ref_path(name);
                let unchanged = self.unchanged(&path, Some(&current.version))?;
                // Whoever was faster wrote what it means now, or something else altogether.
                self.write_if(&path, unchanged, fresh.to_bytes()).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RefStore for ArchiveStore {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        let current = self.place.read_ref(name).await?;
        Ok(current.map(|current| value_of(name, &current.file)))
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        let files = self.place.list_ref_files(space).await?;
        let reads = files.into_iter().map(|(name, _)| async move {
            let current = self.place.read_ref(&name).await?;
            Ok::<_, Error>(current.map(|current| {
                let value = value_of(&name, &current.file);
                (name, value)
            }))
        });
        let reads: Vec<_> = reads.collect();
        let reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let found: Vec<_> = reads.try_collect().await?;
        // One that went away in between is not there.
        let mut refs: Vec<_> = found.into_iter().flatten().collect();
        refs.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(refs)
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        check_set(updates)?;
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        // What a ref is to hold must not be deleted before it does.
        let lease = match self.place.held.is_exclusive() {
            true => None,
            false => Some(self.place.leases.shared().await?),
        };
        let files = self.place.list_ref_files(&RefSpace::All).await?;
        for update in updates.iter().filter(|update| update.new.is_some()) {
            let gone = |name: &RefName| {
                let deleted = updates.iter().filter(|u| u.new.is_none());
                deleted.into_iter().any(|u| u.name == *name)
            };
            let others = files.iter().map(|(name, _)| name).filter(|n| !gone(n));
            check_nesting(others, &update.name)?;
        }
        if let Some(lease) = &lease {
            self.place.check_relied_on(lease).await?;
        }
        let relied = lease.iter().flat_map(|lease| lease.relied_on());
        let held = updates.iter().filter_map(|update| match update.new {
            Some(RefValue::Commit(commit)) => Some(ObjectName::commit(commit)),
            _ => None,
        });
        if updates.iter().any(|update| update.new.is_some()) {
            self.place.spare(relied.chain(held)).await?;
        }
        let mut answers = Vec::with_capacity(updates.len());
        for update in updates {
            answers.push(self.place.update_ref(update).await?);
        }
        let named = updates.iter().map(|update| &update.name);
        let moved = named.zip(&answers).collect();
        self.place.refresh_aliases(&files, &moved).await?;
        Ok(answers)
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        RefAtomicity::Each
    }
}

fn value_of(name: &RefName, file: &RefFile) -> RefValue {
    match &file.alias {
        None => RefValue::Commit(file.commit),
        Some(branch) => RefValue::Alias(beside(name, branch.clone())),
    }
}

/// Returns the ref `branch` in the name space of `name`.
fn beside(name: &RefName, branch: Branch) -> RefName {
    match name {
        RefName::Local(_) => RefName::Local(branch),
        RefName::Remote(remote, _) => RefName::Remote(remote.clone(), branch),
        RefName::Mirror(collection, _) => RefName::Mirror(collection.clone(), branch),
    }
}
