//! A transport under test, what it says of itself, and how the checks read from it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    Validator, WritableTransport,
};
use treeferry_core::{Error, ErrorKind, Result};

use crate::{Failed, ListedTimes};

/// A transport under test, to a remote that is empty when it is made and gone when it is dropped.
pub trait TransportFixture: Send + Sync + Sized + 'static {
    /// A handle on the remote; it implements the traits whose suites are run.
    type Transport: Send + Sync + 'static;

    /// Opens the remote, once more if it is open. What one handle did another sees.
    fn open(&self) -> impl Future<Output = Result<Self::Transport>> + Send;

    /// Makes an empty remote of the same kind.
    fn another(&self) -> impl Future<Output = Result<Self>> + Send;

    /// Makes `path` hold `bytes`, as whoever looks after the remote does: whole, and replacing what
    /// is there. Only the suite of readable transports uses it; a writable one can pass it on to
    /// [`publish_by_put`].
    fn publish(&self, path: &RemotePath, bytes: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Removes the file at `path`; see [`publish`](Self::publish) and [`withdraw_by_delete`].
    fn withdraw(&self, path: &RemotePath) -> impl Future<Output = Result<()>> + Send;

    /// Returns what this kind of transport can do.
    fn profile(&self) -> TransportProfile;
}

/// What transports may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportProfile {
    /// Which changes of a file its validators tell.
    pub versions: Versions,
    /// Whether a fetch can start in the middle of a file.
    pub resuming: Resuming,
    /// Whether a fetch tells how long the whole file is.
    pub totals: Totals,
    /// Which names files can have.
    pub names: FileNames,
    /// Whether names that differ in case are two.
    pub case: NameCase,
    /// Whether a file can lie below another.
    pub nesting: NestedFiles,
    /// Whether a put can be made to depend on what is there.
    pub conditions: Conditions,
    /// Whether listings tell times.
    pub listed_times: ListedTimes,
}

impl Default for TransportProfile {
    /// Returns the profile of a bucket that does all that is asked of it.
    fn default() -> Self {
        Self::BUCKET
    }
}

impl TransportProfile {
    /// The profile of a bucket that does all that is asked of it.
    pub const BUCKET: Self = Self {
        versions: Versions::EachChange,
        resuming: Resuming::Continues,
        totals: Totals::Told,
        names: FileNames::Any,
        case: NameCase::ToldApart,
        nesting: NestedFiles::Held,
        conditions: Conditions::Enforced,
        listed_times: ListedTimes::Known,
    };
}

/// Which changes of a file its validators tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Each; every fetch says which version it is.
    EachChange,
    /// Those that are at least so far apart; a fetch of a fresh file may say nothing.
    Apart(Duration),
    /// None: no fetch ever says which version it is.
    None,
}

/// Whether a fetch can start in the middle of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resuming {
    /// It does, where it was asked to, while the file is the same version.
    Continues,
    /// It never does: all of the file is sent.
    StartsOver,
}

/// Whether a fetch tells how long the whole file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// It does.
    Told,
    /// It never does.
    Unknown,
}

/// Which names files can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileNames {
    /// All that a [`RemotePath`] can say.
    Any,
    /// Those that FAT can hold: others are refused.
    Portable,
    /// The same, and of these those in ASCII: some drivers know no others.
    PortableAscii,
}

impl FileNames {
    /// Returns whether `name`, one part of a path, can be a file's.
    pub fn can_hold(self, name: &str) -> bool {
        let portable = |c: char| !c.is_control() && !"\"*:<>?\\|".contains(c);
        match self {
            Self::Any => true,
            Self::Portable => name.chars().all(portable) && !name.ends_with(['.', ' ']),
            Self::PortableAscii => name.is_ascii() && Self::Portable.can_hold(name),
        }
    }
}

/// Whether names that differ in case are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCase {
    /// They are two.
    ToldApart,
    /// They are one.
    Folded,
    /// One of them is found and can be put; the other is not there, and refused.
    OneSpelling,
}

/// Whether both the file `a` and the file `a/b` can be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedFiles {
    /// Both can.
    Held,
    /// The second is refused.
    Refused,
}

/// Whether a put can be made to depend on what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// It can, whoever else writes at the same time.
    Enforced,
    /// It can, as long as nobody else writes: looking and writing are two steps.
    OneWriter,
    /// It is refused as [`Unsupported`](ErrorKind::Unsupported), and nothing is written.
    Refused,
}

/// A [`TransportFixture`], seen by the checks of one suite; `T` is the trait under test.
#[async_trait]
pub trait TransportPlace<T: ?Sized>: Send + Sync {
    /// Opens the remote.
    async fn open(&self) -> Result<Arc<T>>;

    /// Makes an empty remote of the same kind.
    async fn another(&self) -> Result<Box<dyn TransportPlace<T>>>;

    /// Makes `path` hold `bytes`.
    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()>;

    /// Removes the file at `path`.
    async fn withdraw(&self, path: &RemotePath) -> Result<()>;

    /// Returns what this kind of transport can do.
    fn profile(&self) -> TransportProfile;
}

macro_rules! place_of {
    ($subject:ident) => {
        #[async_trait]
        impl<F: TransportFixture> TransportPlace<dyn $subject> for F
        where
            F::Transport: $subject,
        {
            async fn open(&self) -> Result<Arc<dyn $subject>> {
                let transport = TransportFixture::open(self).await.map_err(during_open)?;
                Ok(Arc::new(transport))
            }

            async fn another(&self) -> Result<Box<dyn TransportPlace<dyn $subject>>> {
                Ok(Box::new(TransportFixture::another(self).await?))
            }

            async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
                TransportFixture::publish(self, path, bytes).await
            }

            async fn withdraw(&self, path: &RemotePath) -> Result<()> {
                TransportFixture::withdraw(self, path).await
            }

            fn profile(&self) -> TransportProfile {
                TransportFixture::profile(self)
            }
        }
    };
}

place_of!(Transport);
place_of!(WritableTransport);

fn during_open(error: Error) -> Error {
    error.context("the fixture cannot be opened")
}

/// Publishes a file through the transport under test: what most writable fixtures do.
pub async fn publish_by_put(
    transport: &dyn WritableTransport,
    path: &RemotePath,
    bytes: Bytes,
) -> Result<()> {
    let body = PutBody::Bytes(bytes);
    match transport.put(path, Precondition::None, body).await? {
        PutAnswer::Done { .. } => Ok(()),
        PutAnswer::Conflict => Err(Error::corrupt("a put without condition is a conflict")),
    }
}

/// Withdraws a file through the transport under test.
pub async fn withdraw_by_delete(
    transport: &dyn WritableTransport,
    path: &RemotePath,
) -> Result<()> {
    transport.delete(std::slice::from_ref(path)).await
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) offset: u64,
    pub(crate) total_bytes: Option<u64>,
    pub(crate) validator: Option<Validator>,
    pub(crate) bytes: Bytes,
}

/// Parses a path.
pub(crate) fn path(text: &str) -> std::result::Result<RemotePath, Failed> {
    RemotePath::new(text).map_err(|e| Failed::new(format!("{text}: {e}")))
}

/// Reads all that arrives, and how it ends.
pub(crate) async fn drain(mut file: FetchedFile) -> (Bytes, Result<()>) {
    let mut all = BytesMut::new();
    while let Some(piece) = file.bytes.next().await {
        match piece {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(error) => return (all.freeze(), Err(error)),
        }
    }
    (all.freeze(), Ok(()))
}

/// Opens a file that must be there and must be sent.
pub(crate) async fn open_file(
    transport: &dyn Transport,
    path: &RemotePath,
    options: FetchOptions,
) -> std::result::Result<FetchedFile, Failed> {
    match transport.fetch(path, options).await? {
        Some(Fetched::File(file)) => Ok(file),
        Some(Fetched::NotModified) => Err(Failed::new(format!("{path}: called not modified"))),
        None => Err(Failed::new(format!("{path}: not there"))),
    }
}

/// Reads a file that must be there and must be sent.
pub(crate) async fn read_with(
    transport: &dyn Transport,
    path: &RemotePath,
    options: FetchOptions,
) -> std::result::Result<Read, Failed> {
    let file = open_file(transport, path, options).await?;
    let (offset, total_bytes) = (file.offset, file.total_bytes);
    let validator = file.validator.clone();
    let (bytes, end) = drain(file).await;
    end?;
    Ok(Read {
        offset,
        total_bytes,
        validator,
        bytes,
    })
}

/// Reads a file that must be there, whole.
pub(crate) async fn read(
    transport: &dyn Transport,
    path: &RemotePath,
) -> std::result::Result<Read, Failed> {
    read_with(transport, path, FetchOptions::default()).await
}

/// Checks that `path` holds exactly `expected`; `None`: that nothing is there.
pub(crate) async fn ensure_holds(
    transport: &dyn Transport,
    path: &RemotePath,
    expected: Option<&Bytes>,
    what: &str,
) -> crate::Outcome {
    let answer = transport.fetch(path, FetchOptions::default()).await?;
    let (found, offset) = match answer {
        None => (None, 0),
        Some(Fetched::NotModified) => {
            return Err(Failed::new(format!("{path}, {what}: called not modified")));
        }
        Some(Fetched::File(file)) => {
            let offset = file.offset;
            let (bytes, end) = drain(file).await;
            end?;
            (Some(bytes), offset)
        }
    };
    ensure_eq!(offset, 0, "{path}, {what}: where it starts");
    // Megabytes say little in a message.
    let lengths = (found.as_ref().map(Bytes::len), expected.map(Bytes::len));
    ensure!(
        found.as_ref() == expected,
        "{path}, {what}: not what it should be: found and expected are {lengths:?} bytes long"
    );
    Ok(())
}

/// Asks for a file if it is not `version`: `None` if it is that version still.
pub(crate) async fn read_unless(
    transport: &dyn Transport,
    path: &RemotePath,
    version: &Validator,
) -> std::result::Result<Option<Bytes>, Failed> {
    let options = FetchOptions {
        unless: Some(version.clone()),
        ..FetchOptions::default()
    };
    match transport.fetch(path, options).await? {
        Some(Fetched::NotModified) => Ok(None),
        Some(Fetched::File(file)) => {
            let (bytes, end) = drain(file).await;
            end?;
            Ok(Some(bytes))
        }
        None => Err(Failed::new(format!("{path}: not there"))),
    }
}

/// Returns validators that no version of any file has.
pub(crate) fn foreign_validators() -> [Validator; 2] {
    [
        Validator::ETag("\"of another world\"".into()),
        Validator::LastModified("Sun, 06 Nov 1994 08:49:37 GMT".into()),
    ]
}

/// Waits until a change of a file that was written now can be told.
pub(crate) async fn wait_to_change(profile: TransportProfile) {
    if let Versions::Apart(apart) = profile.versions {
        tokio::time::sleep(apart).await;
    }
}

/// Returns the kinds of errors that say that a request is wrong, or cannot be served here.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported)
}

/// Paths that are odd but allowed.
pub(crate) const ODD_PATHS: [&str; 17] = [
    "objects/00/11.filez",
    "with space",
    "percent%20and%25",
    "a+b=c&d",
    "question?query",
    "hash#fragment",
    "grün/日本語",
    "..two-dots",
    "...",
    ".hidden",
    "colon:in:name",
    "semicolon;v=1",
    "tilde~and^caret",
    "back\\slash",
    "quote\"and'apostrophe",
    "star*",
    "refs/heads/os@v1,2/x86_64",
];
