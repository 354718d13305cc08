//! Repositories in buckets: opening and making them, and what the environment says of them.

use std::fs::metadata;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::OnceCell;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_core::format::CollectionId;
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    WritableTransport,
};
use treeferry_core::{Error, ErrorKind};
use treeferry_transport_s3::{
    BucketAddress, BucketOptions, BucketTransport, Credentials, Provider,
};

use crate::failure::Result;
use crate::place::Opened;
use crate::rate::limited;
use crate::source::proxy_of_environment;

/// The archives that this call of the command opened: leases are given back at its end.
static OPENED: Mutex<Vec<ArchiveStore>> = Mutex::new(Vec::new());

/// Opens the repository at an address. `None` where there is none.
pub(crate) async fn open(address: &str) -> Result<Option<Opened>> {
    let transport = Arc::new(limited(Bucket::new(address).await?));
    match ArchiveStore::open(transport, archive_options()).await {
        Ok(store) => Ok(Some(opened(store))),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes an empty repository at an address, or opens the one that is there.
pub(crate) async fn create(address: &str, collection_id: Option<CollectionId>) -> Result<Opened> {
    let transport = Arc::new(limited(Bucket::new(address).await?));
    let mut create = CreateArchive::default();
    create.collection_id = collection_id;
    let store = ArchiveStore::create(transport, create, archive_options()).await?;
    Ok(opened(store))
}

fn opened(store: ArchiveStore) -> Opened {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(store.clone());
    Opened::archive(store)
}

/// Gives leases back, also after a failure: others would wait until they expire.
pub(crate) async fn finish() {
    let all = std::mem::take(&mut *OPENED.lock().unwrap_or_else(PoisonError::into_inner));
    for store in all {
        store.settle().await;
    }
}

fn archive_options() -> ArchiveOptions {
    let mut options = ArchiveOptions::default();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let process = std::process::id();
    options.lease.holder = format!("treeferry on {host}, process {process}");
    options.lease.seed = RandomState::new().build_hasher().finish();
    options.retry.seed = options.lease.seed;
    options.spool = Spool::in_files(tempfile::tempfile);
    options
}

/// Returns what the environment says of the buckets of a provider: what is meant for another's, an
/// endpoint above all, says nothing of them.
fn options_of_environment(provider: Provider) -> BucketOptions {
    let own: &[&str] = match provider {
        Provider::S3 => &["AWS_"],
        Provider::Gcs => &["GOOGLE_"],
        Provider::Azure => &["AZURE_", "AZURITE_"],
    };
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables: Vec<_> = texts
        .filter(|(name, _)| own.iter().any(|own| name.starts_with(own)) || name == "HOME")
        .collect();
    let options = BucketOptions::default().apply_variables(variables.clone());
    if provider != Provider::S3 || !matches!(options.credentials, Credentials::Anonymous) {
        return options;
    }
    // As for other tools, a file of keys is there to be used.
    let home = variables.iter().find(|(name, _)| name == "HOME");
    let has_file =
        home.is_some_and(|(_, home)| metadata(Path::new(home).join(".aws/credentials")).is_ok());
    if !has_file {
        return options;
    }
    variables.push(("AWS_PROFILE".into(), "default".into()));
    options.apply_variables(variables)
}

/// A bucket that is opened for writing when something is first written: to look takes no right to
/// write, nor a try whether the server enforces conditions.
#[derive(Debug)]
struct Bucket {
    address: String,
    options: BucketOptions,
    reader: BucketTransport,
    writer: OnceCell<BucketTransport>,
}

impl Bucket {
    async fn new(address: &str) -> Result<Self> {
        let parsed: BucketAddress = address.parse()?;
        let mut options = options_of_environment(parsed.provider);
        if let Some(proxy) = proxy_of_environment() {
            options = options.proxy(proxy);
        }
        let reader = BucketTransport::open(address, options.clone()).await?;
        Ok(Self {
            address: address.to_owned(),
            options,
            reader,
            writer: OnceCell::new(),
        })
    }

    async fn writer(&self) -> Result<&BucketTransport, Error> {
        let open = || BucketTransport::open_for_writing(&self.address, self.options.clone());
        self.writer.get_or_try_init(open).await
    }
}

#[async_trait]
impl Transport for Bucket {
    fn describe(&self, path: &RemotePath) -> String {
        self.reader.describe(path)
    }

    fn origin(&self) -> &str {
        self.reader.origin()
    }

    async fn fetch(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<Fetched>, Error> {
        self.reader.fetch(path, options).await
    }
}

#[async_trait]
impl WritableTransport for Bucket {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer, Error> {
        self.writer().await?.put(path, precondition, body).await
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<(), Error> {
        self.writer().await?.delete(paths).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile, Error>> {
        self.reader.list(prefix)
    }
}
