//! Where a repository is: the addresses that users write, and how each is opened.
//!
//! ```text
//! PATH, file://PATH    a directory
//! sqlite:FILE          one SQLite file
//! usb:PATH             the repository of the stick that is mounted there
//! s3://BUCKET/PREFIX   a bucket, also gs:// and az://; '?endpoint=URL&region=NAME&...' may follow
//! http(s)://HOST/PATH  an archive on a web server: pulled and copied from
//! NAME                 a remote of the repository at hand: pulled and copied from, or pushed to
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use treeferry_backend_fs::FsRepo;
use treeferry_backend_sqlite::{CreateOptions, OpenOptions, SqliteRepo};
use treeferry_core::ErrorKind;
use treeferry_core::archive::ArchiveStore;
use treeferry_core::format::{CollectionId, RemoteName};
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::{RemoteConfig, Repo};
use treeferry_core::sign::VerifyPolicy;
use treeferry_core::store::{MemoryOptions, MemoryStore};
use treeferry_transport_http::HttpOptions;
use treeferry_transport_s3::BucketAddress;
use treeferry_transport_usb::FileLimit;

use crate::failure::{Failure, Result};
use crate::session::{Session, has_remote, open_fs, remote_config, repo_of, with_spill};
use crate::{bucket, mirrors, source, stick, trust};

/// What is said of a place that is not among those above.
const KINDS: &str = "expected a path, sqlite:FILE, usb:PATH, s3://BUCKET/PREFIX (or gs://, \
                     az://) or http(s)://HOST/PATH";

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Directory(PathBuf),
    Sqlite(PathBuf),
    Usb(PathBuf),
    Bucket(String),
    Web(String),
}

/// A repository that was opened, and the directory that it is, if it is one.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) repo: Repo,
    pub(crate) fs: Option<FsRepo>,
    /// The archive that it is, with leases instead of locks, if it is one.
    pub(crate) archive: Option<ArchiveStore>,
}

impl Opened {
    /// Returns the same repository, in which nothing that is written is synced, if it can be told so.
    pub(crate) fn unsynced(self) -> Self {
        let Some(fs) = &self.fs else { return self };
        let fs = fs.unsynced();
        Self {
            repo: repo_of(fs.clone()),
            fs: Some(fs),
            ..self
        }
    }
}

/// What a place is opened for that is to be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To write.
    Write,
    /// To say what would be written: nothing is made.
    Plan,
}

/// A place that is read from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A repository of which everything can be read.
    Repo(Repo),
    /// A remote, which shows what its summary lists.
    Remote(PullSource),
}

impl Place {
    /// Reads an address. Whatever has no scheme is a path.
    pub(crate) fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        let below = |scheme: &[u8]| {
            let rest = bytes.strip_prefix(scheme)?;
            Some(PathBuf::from(OsString::from(OsStr::from_bytes(rest))))
        };
        let shown = || text.to_string_lossy().into_owned();
        let place = if let Some(path) = below(b"sqlite:") {
            Self::Sqlite(path)
        } else if let Some(path) = below(b"usb:") {
            Self::Usb(path)
        } else if let Some(path) = below(b"file://") {
            Self::Directory(path)
        } else if bytes.starts_with(b"http://") || bytes.starts_with(b"https://") {
            Self::Web(shown())
        } else if is_bucket(bytes) {
            let address = shown();
            address.parse::<BucketAddress>()?;
            Self::Bucket(address)
        } else if has_scheme(bytes) {
            return Err(Failure::new(format!("{}: {KINDS}", shown())));
        } else {
            Self::Directory(text.into())
        };
        match &place {
            Self::Sqlite(path) | Self::Usb(path) | Self::Directory(path)
                if path.as_os_str().is_empty() =>
            {
                let message = format!("{:?}: no path is given; {KINDS}", shown());
                Err(Failure::new(message))
            }
            _ => Ok(place),
        }
    }

    /// Returns how long a file can be there, also where there is no repository yet.
    pub(crate) fn file_limit(&self) -> FileLimit {
        match self {
            Self::Usb(path) => stick::file_limit(path),
            Self::Directory(_) | Self::Sqlite(_) | Self::Bucket(_) | Self::Web(_) => {
                FileLimit::None
            }
        }
    }

    /// Opens the repository.
    pub(crate) async fn open(&self) -> Result<Opened> {
        match self {
            Self::Directory(path) => {
                let fs = open_fs(path.clone()).await?;
                Ok(Opened::directory(fs))
            }
            Self::Sqlite(path) => {
                let opened = SqliteRepo::open(path.clone(), OpenOptions::default()).await;
                let sqlite = opened.map_err(|error| match error.kind() {
                    ErrorKind::Missing => self.not_there(error),
                    _ => error.into(),
                })?;
                Ok(self.opened(sqlite.into()))
            }
            Self::Usb(path) => match stick::open(path).await? {
                Some(opened) => Ok(opened.named(self)),
                None => Err(Failure::new(format!(
                    "{self}: there is no repository on the stick; '--repo={self} init' makes one"
                ))),
            },
            Self::Bucket(address) => match bucket::open(address).await? {
                Some(opened) => Ok(opened.named(self)),
                None => Err(Failure::new(format!(
                    "{self}: there is no repository; '--repo={self} init' makes one"
                ))),
            },
            Self::Web(_) => Err(self.read_only()),
        }
    }

    /// Makes an empty repository where that takes no choice of a mode, or opens the one that is there.
    pub(crate) async fn create(&self, collection_id: Option<CollectionId>) -> Result<Opened> {
        match self {
            Self::Directory(_) => Err(Failure::new(format!(
                "{self}: of which mode? 'init --mode=MODE' makes a repository in a directory"
            ))),
            Self::Sqlite(path) => {
                let options = CreateOptions {
                    collection_id,
                    ..CreateOptions::default()
                };
                let sqlite = SqliteRepo::create(path.clone(), options).await?;
                Ok(self.opened(sqlite.into()))
            }
            Self::Usb(path) => {
                let made = stick::create(path, collection_id).await?;
                Ok(made.named(self))
            }
            Self::Bucket(address) => {
                let made = bucket::create(address, collection_id).await?;
                Ok(made.named(self))
            }
            Self::Web(_) => Err(self.read_only()),
        }
    }

    /// Opens the repository to be written to, and makes it where writing to it is what makes it.
    pub(crate) async fn open_or_create(&self, intent: Intent) -> Result<Opened> {
        let found = match self {
            Self::Usb(path) => stick::open(path).await?,
            Self::Bucket(address) => bucket::open(address).await?,
            _ => {
                return self.open().await.map_err(|failure| match failure {
                    Failure::Library(error) if error.kind() == ErrorKind::Missing => {
                        self.not_there(error)
                    }
                    failure => failure,
                });
            }
        };
        match (found, intent) {
            (Some(opened), _) => Ok(opened.named(self)),
            (None, Intent::Write) => self.create(None).await,
            // What would be made is as empty.
            (None, Intent::Plan) => {
                let empty = MemoryStore::new(MemoryOptions::archive());
                Ok(self.opened(Repo::new(Arc::new(empty))))
            }
        }
    }

    fn opened(&self, repo: Repo) -> Opened {
        Opened::elsewhere(repo).named(self)
    }

    fn read_only(&self) -> Failure {
        let message = "a web server can only be pulled or copied from";
        Failure::new(format!("{self}: {message}"))
    }

    fn not_there(&self, error: treeferry_core::Error) -> Failure {
        let help = format!("'--repo={self} init' makes a repository there");
        Failure::from(error).with_help(&help)
    }
}

impl Opened {
    pub(crate) fn directory(fs: FsRepo) -> Self {
        Self {
            repo: repo_of(fs.clone()),
            fs: Some(fs),
            archive: None,
        }
    }

    pub(crate) fn elsewhere(repo: Repo) -> Self {
        Self {
            repo: with_spill(repo),
            fs: None,
            archive: None,
        }
    }

    pub(crate) fn archive(store: ArchiveStore) -> Self {
        let mut opened = Self::elsewhere(Repo::new(Arc::new(store.clone())));
        opened.archive = Some(store);
        opened
    }

    fn named(mut self, place: &Place) -> Self {
        self.repo = self.repo.at(place.to_string());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Usb(path) => write!(f, "usb:{}", path.display()),
            Self::Bucket(url) | Self::Web(url) => f.write_str(url),
        }
    }
}

/// Returns whether an address is one of a bucket.
fn is_bucket(address: &[u8]) -> bool {
    let schemes: [&[u8]; 3] = [b"s3://", b"gs://", b"az://"];
    schemes.iter().any(|scheme| address.starts_with(scheme))
}

/// Returns whether an address begins with a scheme, such as `ftp://`.
fn has_scheme(address: &[u8]) -> bool {
    let scheme = address
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    let length = scheme.count();
    length > 0 && address[length..].starts_with(b"://")
}

/// Returns whether `text` is an address, and not `REMOTE` or `REMOTE:BRANCH`.
pub(crate) fn is_address(text: &str) -> bool {
    let short = ["sqlite:", "usb:"];
    let scheme = has_scheme(text.as_bytes()) || short.iter().any(|s| text.starts_with(s));
    let before = text.split(':').next().unwrap_or_default();
    scheme || before.contains('/') || matches!(text, "." | "..")
}

/// Returns the name, if `address` can only be that of a remote or a directory.
fn as_name(address: &OsStr) -> Option<RemoteName> {
    address.to_str()?.parse().ok()
}

/// Opens what `address` names to be pulled from, and says what must be signed of it. A name is a
/// remote of the repository at hand, if it has one of that name.
pub(crate) async fn open_origin(
    session: &Session,
    address: &OsStr,
) -> Result<(Origin, VerifyPolicy)> {
    if let Some((repo, remote)) = named_remote(session, address).await? {
        let verify = trust::at_hand(session, &remote).await?;
        let http = source::http_options(&repo, &remote, session.name).await?;
        let origin = open_url(&remote.url, remote.content_url.as_deref(), &http).await?;
        return Ok((origin, verify));
    }
    let origin = match Place::parse(address)? {
        Place::Web(url) => open_url(&url, None, &source::plain_http()).await?,
        place => Origin::Repo(place.open().await?.repo),
    };
    Ok((origin, VerifyPolicy::default()))
}

/// Returns the place to write to that `address` names.
pub(crate) async fn target_place(session: &Session, address: &OsStr) -> Result<Place> {
    Ok(match named_remote(session, address).await? {
        Some((_, remote)) => Place::parse(OsStr::new(&*remote.url))
            .map_err(|e| e.context(format_args!("remote \"{}\"", remote.name)))?,
        None => Place::parse(address)?,
    })
}

async fn open_url(url: &str, content_url: Option<&str>, http: &HttpOptions) -> Result<Origin> {
    match Place::parse(OsStr::new(url)) {
        Ok(Place::Web(_)) | Err(_) => {
            Ok(Origin::Remote(source::open(url, content_url, http).await?))
        }
        // Those are no addresses of a place.
        Ok(_) if mirrors::is_list(url) => {
            Ok(Origin::Remote(source::open(url, content_url, http).await?))
        }
        Ok(place) => Ok(Origin::Repo(place.open().await?.repo)),
    }
}

/// Returns the configuration of the remote that `address` names, if the repository at hand has it.
/// Returns the remote of that name, and the repository that has it, if it has one.
async fn named_remote(session: &Session, address: &OsStr) -> Result<Option<(Repo, RemoteConfig)>> {
    let Some(name) = as_name(address) else {
        return Ok(None);
    };
    // Without a repository at hand there are no remotes.
    let Ok(at) = session.place() else {
        return Ok(None);
    };
    let Ok(opened) = at.open().await else {
        return Ok(None);
    };
    if !has_remote(&opened, &name).await? {
        return Ok(None);
    }
    let remote = remote_config(&opened, &name).await?;
    Ok(Some((opened.repo, remote)))
}

impl From<Origin> for PullSource {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Repo(repo) => repo.into(),
            Origin::Remote(source) => source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_many_for_memory_go_somewhere_wherever_the_repository_is() {
        let repo = Repo::new(Arc::new(MemoryStore::default()));
        assert_eq!(repo.spill().place, None);
        let opened = Opened::elsewhere(repo);
        assert!(opened.repo.spill().place.is_some());
    }

    fn parse(text: &str) -> Result<Place> {
        Place::parse(OsStr::new(text))
    }

    #[test]
    fn what_has_no_scheme_is_a_path() {
        for path in ["repo", "./a:b", "/srv/repo", "a b", "sqlite", "usb"] {
            assert_eq!(parse(path).unwrap(), Place::Directory(path.into()));
        }
        let file = parse("file:///srv/repo").unwrap();
        assert_eq!(file, Place::Directory("/srv/repo".into()));
    }

    #[test]
    fn schemes_name_what_holds_the_repository() {
        let sqlite = parse("sqlite:a/b.sqlite").unwrap();
        assert_eq!(sqlite, Place::Sqlite("a/b.sqlite".into()));
        assert_eq!(sqlite.to_string(), "sqlite:a/b.sqlite");
        for bucket in ["s3://trees", "gs://trees/a/b", "az://trees/a?anonymous"] {
            assert_eq!(parse(bucket).unwrap(), Place::Bucket(bucket.into()));
        }
        let url = "https://example.org/repo";
        assert_eq!(parse(url).unwrap(), Place::Web(url.into()));
    }

    #[test]
    fn a_remote_and_its_branch_are_no_address() {
        for remote in ["origin", "origin:os/stable", "origin:a"] {
            assert!(!is_address(remote), "{remote}");
        }
        for address in [
            "sqlite:a",
            "usb:/media/a",
            "./a",
            "a/b",
            ".",
            "https://example.org",
            "s3://trees",
        ] {
            assert!(is_address(address), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for bad in ["ftp://example.org/repo", "sqlite:", "file://", ""] {
            let failure = parse(bad).unwrap_err().to_string();
            assert!(failure.contains("expected a path"), "{failure}");
            assert!(failure.contains(bad), "{failure}");
        }
    }
}
