//! `init`: makes an empty repository.

use std::path::{Path, PathBuf};

use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions};
use treeferry_core::ErrorKind;
use treeferry_core::format::CollectionId;

use crate::failure::{Failure, Result};
use crate::session::{Name, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How files are kept: bare, bare-user, bare-user-only, archive, bare-split-xattrs
    #[arg(
        long,
        value_name = "MODE",
        default_value = "bare",
        hide_default_value = true
    )]
    mode: String,
    /// The collection that the refs belong to, such as org.example.Os
    #[arg(long, value_name = "COLLECTION-ID")]
    collection_id: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let path = session.repo.clone();
    let path = path.or_else(|| std::env::var_os("OSTREE_REPO").map(PathBuf::from));
    let path = path.ok_or_else(|| Failure::usage("Command requires a --repo argument"))?;
    let mode: FsMode = args.mode.parse().map_err(|e| match session.name {
        Name::Ostree => {
            let mode = &args.mode;
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
    let mode = match session.name {
        // OSTree leaves a repository that is there as it is, of whatever mode.
        Name::Ostree => mode_of(&path).await?.unwrap_or(mode),
        Name::Treeferry => mode,
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
