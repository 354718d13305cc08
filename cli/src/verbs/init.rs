//! `init`: makes an empty repository.

use std::path::{Path, PathBuf};

use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions};
use treeferry_core::ErrorKind;
use treeferry_core::format::CollectionId;

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::session::{Name, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How files are kept: bare, bare-user, bare-user-only, archive, bare-split-xattrs
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// The collection that the refs belong to, such as org.example.Os
    #[arg(long, value_name = "COLLECTION-ID")]
    collection_id: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let path = session.repo.clone();
    let path = path.or_else(|| std::env::var_os("OSTREE_REPO").map(PathBuf::from));
    let path = path.ok_or_else(|| Failure::usage("Command requires a --repo argument"))?;
    let mode = args.mode.as_deref();
    let parsed = mode.unwrap_or("bare").parse();
    let parsed: FsMode = parsed.map_err(|e| match session.name {
        Name::Ostree => {
            let mode = mode.unwrap_or_default();
            Failure::new(format!("Invalid mode '{mode}' in repository configuration"))
        }
        Name::Treeferry => Failure::Library(e),
    })?;
    let collection = args.collection_id.as_deref().map(CollectionId::new);
    let collection_id = collection.transpose().map_err(|e| {
        Failure::from(e).context(format_args!(
            "Invalid collection ID {}",
            args.collection_id.as_deref().unwrap_or_default()
        ))
    })?;
    let path = match (session.name, Place::parse(path.as_os_str())) {
        (Name::Ostree, _) => path,
        (Name::Treeferry, Ok(Place::Directory(path))) => path,
        (Name::Treeferry, place) => {
            let place = place?;
            if mode.is_some_and(|mode| !matches!(mode, "archive" | "archive-z2")) {
                let message = "files are kept as in an archive there: leave --mode out";
                return Err(Failure::new(format!("{place}: {message}")));
            }
            return place.create(collection_id).await.map(drop);
        }
    };
    let mode = match session.name {
        // OSTree leaves a repository that is there as it is, of whatever mode.
        Name::Ostree => mode_of(&path).await?.unwrap_or(parsed),
        Name::Treeferry => parsed,
    };
    let options = CreateOptions {
        collection_id,
        ..CreateOptions::default()
    };
    FsRepo::create(path, mode, options).await?;
    Ok(())
}

/// Returns the mode of the repository at `path`, if there is one.
async fn mode_of(path: &Path) -> Result<Option<FsMode>> {
    match FsRepo::open(path, OpenOptions::default()).await {
        Ok(repo) => Ok(Some(repo.mode())),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
        Err(error) => Err(error.into()),
    }
}
