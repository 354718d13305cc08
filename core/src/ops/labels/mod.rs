//! SELinux labels from the policy in a tree: what `file_contexts` says of a path.
//!
//! ```text
//! config    which policy a tree has        etc/selinux/config
//! contexts  path patterns and their labels contexts/files/file_contexts{,.homedirs,.local}
//! pattern   one pattern, matched
//! aliases   paths labelled like others     contexts/files/file_contexts.subs{,_dist}
//! ```
//!
//! Only the text files are read, never the compiled `.bin` beside them, which say the same.

mod aliases;
mod config;
mod contexts;
mod pattern;

use std::path::Path;

use bytes::Bytes;

use self::aliases::Aliases;
use self::contexts::Contexts;
use crate::error::{Error, Result};
use crate::repo::{Repo, TreeEntry, TreeRoot};
use crate::store::Incoming;

/// The longest policy file that is read, bytes; real ones have less than one million.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Which labels files are to have.
#[derive(Debug)]
pub struct Labels {
    name: String,
    contexts: Contexts,
    aliases: Aliases,
    epoch: LabelingEpoch,
}

/// How paths of a tree are looked up in a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LabelingEpoch {
    /// As they are.
    #[default]
    AsIs,
    /// What is in `/usr/etc` is labelled as in `/etc`, where a deployment will have it.
    UsrEtcAsEtc,
}

/// The files of a policy that say which labels files have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFiles {
    /// `file_contexts`.
    pub contexts: Bytes,
    /// `file_contexts.homedirs`.
    pub homedirs: Bytes,
    /// `file_contexts.local`.
    pub local: Bytes,
    /// `file_contexts.subs_dist`.
    pub distribution_aliases: Bytes,
    /// `file_contexts.subs`.
    pub aliases: Bytes,
}

/// The names of the [`PolicyFiles`], in the order of the fields.
const FILE_NAMES: [&str; 5] = [
    "file_contexts",
    "file_contexts.homedirs",
    "file_contexts.local",
    "file_contexts.subs_dist",
    "file_contexts.subs",
];

impl PolicyFiles {
    fn from_array(files: [Bytes; 5]) -> Self {
        let [contexts, homedirs, local, distribution_aliases, aliases] = files;
        Self {
            contexts,
            homedirs,
            local,
            distribution_aliases,
            aliases,
        }
    }
}

impl Labels {
    /// Reads the policy called `name`.
    ///
    /// # Errors
    ///
    /// Fails on a line that is no rule, with its file and number.
    pub fn parse(name: &str, files: &PolicyFiles) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            contexts: Contexts::parse(&[
                (FILE_NAMES[0], &files.contexts),
                (FILE_NAMES[1], &files.homedirs),
                (FILE_NAMES[2], &files.local),
            ])?,
            aliases: Aliases::parse(&[
                (FILE_NAMES[3], &files.distribution_aliases),
                (FILE_NAMES[4], &files.aliases),
            ])?,
            epoch: LabelingEpoch::AsIs,
        })
    }

    /// Reads the policy of the tree at `root` on this machine; `None` when it has none, or SELinux
    /// is disabled in it. **Blocking.**
    pub fn read_directory(root: &Path) -> Result<Option<Self>> {
        let read = |path: &str| {
            let path = root.join(path);
            let too_long = || Error::invalid("is too long for a policy file").about(path.as_path());
            match std::fs::metadata(&path) {
                Ok(meta) if meta.len() > FILE_BYTES_MAX => Err(too_long()),
                Ok(_) => match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(Bytes::from(bytes))),
                    Err(e) => Err(Error::io("cannot be read", e).about(path.as_path())),
                },
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io("cannot be looked at", e).about(path.as_path())),
            }
        };
        for place in config::PLACES {
            let Some(text) = read(&format!("{place}/config"))? else {
                continue;
            };
            let Some(name) = config::policy_name(&text)? else {
                return Ok(None);
            };
            let mut files = [const { Bytes::new() }; 5];
            for (file, file_name) in files.iter_mut().zip(FILE_NAMES) {
                let path = config::file_path(place, &name, file_name);
                *file = match read(&path)? {
                    Some(bytes) => bytes,
                    None => absent(file_name, &path)?,
                };
            }
            return Self::parse(&name, &PolicyFiles::from_array(files)).map(Some);
        }
        Ok(None)
    }

    /// Reads the policy in the tree `root` of a repository; `None` when it has none, or SELinux is
    /// disabled in it.
    pub async fn load_tree(repo: &Repo, root: TreeRoot) -> Result<Option<Self>> {
        for place in config::PLACES {
            let Some(text) = load_file(repo, root, &format!("{place}/config")).await? else {
                continue;
            };
            let Some(name) = config::policy_name(&text)? else {
                return Ok(None);
            };
            let mut files = [const { Bytes::new() }; 5];
            for (file, file_name) in files.iter_mut().zip(FILE_NAMES) {
                let path = config::file_path(place, &name, file_name);
                *file = match load_file(repo, root, &path).await? {
                    Some(bytes) => bytes,
                    None => absent(file_name, &path)?,
                };
            }
            return Self::parse(&name, &PolicyFiles::from_array(files)).map(Some);
        }
        Ok(None)
    }

    /// Sets how paths are looked up.
    #[must_use]
    pub fn with_epoch(mut self, epoch: LabelingEpoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Returns the name of the policy, such as `targeted`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the label of what is at the absolute `path` with that `mode`; `None` when it is to
    /// have none. Of the mode, the file type counts; 0 stands for any.
    ///
    /// # Errors
    ///
    /// Fails on a pattern that needs more than a regular expression can do, such as looking behind.
    pub fn lookup(&self, path: &str, mode: u32) -> Result<Option<&str>> {
        let moved;
        let path = match path {
            // Policies give what is in /proc no label, but its mount point in a tree needs one.
            "/proc" => "/mnt",
            _ => match (self.epoch, path.strip_prefix("/usr/etc")) {
                (LabelingEpoch::UsrEtcAsEtc, Some(rest))
                    if rest.is_empty() || rest.starts_with('/') =>
                {
                    moved = format!("/etc{rest}");
                    &moved
                }
                _ => path,
            },
        };
        self.contexts.lookup(&self.aliases.apply(path), mode)
    }
}

/// Says what becomes of a policy file that is not there: only the first is indispensable.
fn absent(file_name: &str, path: &str) -> Result<Bytes> {
    if file_name != FILE_NAMES[0] {
        return Ok(Bytes::new());
    }
    let problem = "is not in the tree, whose SELinux configuration names this policy";
    Err(Error::missing(problem).about(Path::new(path)))
}

async fn load_file(repo: &Repo, root: TreeRoot, path: &str) -> Result<Option<Bytes>> {
    let Some(TreeEntry::File(checksum)) = repo.find_path(root, path).await? else {
        return Ok(None);
    };
    let name = crate::format::ObjectName::file(checksum);
    let body = repo.objects().fetch(&name).await?;
    let body = body.ok_or_else(|| Error::missing("is not in the repository").about(name))?;
    let codec = repo.codec().clone();
    let read = move || {
        let mut content = Incoming::named(name, body).into_content(&*codec)?;
        if content.content_bytes() > FILE_BYTES_MAX {
            return Err(Error::invalid("is too long for a policy file").about(name));
        }
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut content, &mut bytes)
            .map_err(|e| crate::error::from_read("cannot be read", e))?;
        Ok(Bytes::from(bytes))
    };
    repo.pool().run(read).await.map(Some)
}
