//! What a call of the command knows: its name, its environment, and the repository.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};

use treeferry_backend_fs::{FsRepo, OpenOptions, SplitXattrs};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, ObjectName, RemoteName};
use treeferry_core::repo::{RemoteConfig, Repo, Rev};
use treeferry_core::spill::SpillPlace;
use treeferry_core::{ErrorKind, Subject};

use crate::bucket;
use crate::failure::{Failure, Result};
use crate::place::{Opened, Place};
use crate::remotes_d;
use crate::stick;

/// As which of the two the command was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Treeferry,
    Ostree,
}

impl Name {
    /// Tells the name from the first word of the command line.
    pub(crate) fn of(argv0: Option<&OsString>) -> Self {
        match argv0.map(Path::new).and_then(Path::file_name) {
            Some(name) if name == "ostree" => Self::Ostree,
            _ => Self::Treeferry,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Treeferry => "treeferry",
            Self::Ostree => "ostree",
        }
    }
}

/// One call of the command. The environment is read here and nowhere below.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) name: Name,
    pub(crate) repo: Option<PathBuf>,
    pub(crate) quiet: bool,
}

/// Threads that wait for the network and hand out work; disk and CPU work has its own pool.
const RUNTIME_THREADS: usize = 2;

impl Session {
    /// Runs a verb that waits for disk or network. Verbs that do not need no runtime.
    pub(crate) fn wait<T>(&self, verb: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(format!("threads cannot be started: {e}")))?;
        runtime.block_on(async {
            let outcome = verb.await;
            bucket::finish().await;
            let outcome = outcome?;
            stick::finish().await?;
            Ok(outcome)
        })
    }

    /// Returns where the repository is: as given, else the working directory if it is one, else
    /// `$OSTREE_REPO`, else that of the system at `$OSTREE_SYSROOT`, else that of the running one.
    pub(crate) fn repo_path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.repo {
            return Ok(path.clone());
        }
        if Path::new("objects").is_dir() && Path::new("config").is_file() {
            return Ok(PathBuf::from("."));
        }
        if let Some(path) = std::env::var_os("OSTREE_REPO").filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        if let Some(root) = std::env::var_os("OSTREE_SYSROOT").filter(|root| !root.is_empty()) {
            return Ok(Path::new(&root).join("ostree/repo"));
        }
        let system = ["/sysroot/ostree/repo", "/ostree/repo"];
        let found = system.iter().map(Path::new).find(|path| path.is_dir());
        found.map(Path::to_owned).ok_or_else(|| match self.name {
            Name::Ostree => Failure::usage("Command requires a --repo argument"),
            Name::Treeferry => Failure::new(
                "which repository? Give --repo=PATH, set OSTREE_REPO, or change into one",
            ),
        })
    }

    /// Returns which place the repository is in.
    pub(crate) fn place(&self) -> Result<Place> {
        let path = self.repo_path()?;
        match self.name {
            Name::Treeferry => Place::parse(path.as_os_str()),
            // To scripts everything is a path.
            Name::Ostree => Ok(Place::Directory(path)),
        }
    }

    /// Opens the repository, and the directory that it is if it is one.
    pub(crate) async fn open_place(&self) -> Result<Opened> {
        let opened = self.place()?.open().await;
        opened.map_err(|e| e.context("opening repo"))
    }

    /// Returns the directory of the repository, for what only a directory can do: `why` says what.
    pub(crate) fn directory(&self, why: &str) -> Result<PathBuf> {
        match self.place()? {
            Place::Directory(path) => Ok(path),
            place => Err(Failure::new(format!(
                "{place}: {why} takes a repository in a directory"
            ))),
        }
    }

    /// Opens the repository.
    pub(crate) async fn open(&self) -> Result<Repo> {
        Ok(self.open_place().await?.repo)
    }
}

/// Opens the repository at `path`.
pub(crate) async fn open_fs(path: PathBuf) -> Result<FsRepo> {
    let mut options = OpenOptions::default();
    // The switch that OSTree has for the mode that it calls experimental.
    if std::env::var_os("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS").is_some() {
        options.split_xattrs = SplitXattrs::Writable;
    }
    // As in a name of a file: what else it may hold is not for one.
    let id = std::env::var("OSTREE_BOOTID").ok();
    options.boot_id = id.filter(|id| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !id.is_empty() && id.len() <= 64 && id.bytes().all(plain)
    });
    Ok(FsRepo::open(path, options).await?)
}

/// Returns the repository in a directory as the verbs see any.
pub(crate) fn repo_of(fs: FsRepo) -> Repo {
    with_spill(Repo::new(std::sync::Arc::new(fs)))
}

/// Where large temporary files belong by custom: on a disk, where `/tmp` is often in memory.
const LARGE_TEMPORARY_FILES: &str = "/var/tmp";

/// Gives names of objects that are too many for memory a place to go where the repository has none
/// of its own, or none that can be written: `$TMPDIR`, else `/var/tmp`.
pub(crate) fn with_spill(repo: Repo) -> Repo {
    let temporary = std::env::var_os("TMPDIR").filter(|path| !path.is_empty());
    let temporary = temporary.unwrap_or_else(|| LARGE_TEMPORARY_FILES.into());
    let mut spill = repo.spill().clone();
    spill.place = Some(match spill.place.take() {
        Some(own) => own.or(temporary),
        None => SpillPlace::new(temporary),
    });
    repo.with_spill(spill)
}

/// Returns the configuration of a repository and those of its parents, whose remotes it has too.
pub(crate) async fn configs(opened: &Opened) -> Result<Vec<KeyFile>> {
    let mut configs = vec![opened.repo.config().await?];
    if let Some(directory) = opened
        .fs
        .as_ref()
        .and_then(|fs| remotes_d::directory(fs.path()))
    {
        configs.extend(remotes_d::read(&directory)?);
    }
    let mut next = opened.fs.as_ref().and_then(FsRepo::parent);
    while let Some(fs) = next {
        configs.push(repo_of(fs.clone()).config().await?);
        next = fs.parent();
    }
    Ok(configs)
}

/// Returns whether a remote is configured, in the repository or one of its parents.
pub(crate) async fn has_remote(opened: &Opened, name: &RemoteName) -> Result<bool> {
    let configs = configs(opened).await?;
    let mut names = configs.iter().flat_map(RemoteConfig::list);
    Ok(names.any(|found| found == *name))
}

/// Returns a remote that must be configured, in the repository or one of its parents.
pub(crate) async fn remote_config(opened: &Opened, name: &RemoteName) -> Result<RemoteConfig> {
    for config in configs(opened).await? {
        if let Some(remote) = RemoteConfig::read(&config, name)? {
            return Ok(remote);
        }
    }
    Err(Failure::new(format!("Remote \"{name}\" not found")))
}

/// Finds the commit that `rev` means.
pub(crate) async fn resolve(repo: &Repo, rev: &str) -> Result<Checksum> {
    if rev.parse::<Rev>().is_err() {
        return Err(Failure::new(format!("Invalid refspec {rev}")));
    }
    let found = repo.resolve_optional(rev).await.map_err(|error| {
        match (error.kind(), error.subject()) {
            // Well formed it is, so it is the beginning of several.
            (ErrorKind::Invalid, Some(Subject::Ref(_))) => {
                Failure::new(format!("Refspec {rev} not unique"))
            }
            (ErrorKind::Missing, Some(Subject::Object(name))) => no_such_object(name),
            (ErrorKind::Missing, Some(subject @ Subject::Ref(_))) => {
                let (text, subject) = (error.to_string(), format!("{subject}: "));
                let text = text.strip_prefix(&subject).unwrap_or(&text);
                Failure::new(text.replacen("commit", "Commit", 1))
            }
            _ => error.into(),
        }
    })?;
    found.ok_or_else(|| Failure::new(format!("Refspec '{rev}' not found")))
}

/// Says that a metadata object is not there.
pub(crate) fn no_such_object(name: &ObjectName) -> Failure {
    Failure::new(format!("No such metadata object {name}"))
}
