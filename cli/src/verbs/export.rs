//! `export`: writes the tree of a commit as a tar archive.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use treeferry_core::ops::export::{ExportOptions, ExportXattrs, export};

use crate::failure::{Failure, Result, io_failure};
use crate::session::{Name, Session, resolve};
use crate::{file_text, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave extended attributes out
    #[arg(long)]
    no_xattrs: bool,
    /// Make PATH of the tree the root of the archive
    #[arg(long, value_name = "PATH")]
    subpath: Option<String>,
    /// Put PATH before each name in the archive
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Write to a file (default: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The commit to write
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(rev) = args.commit else {
        return Err(Failure::usage("A COMMIT argument is required"));
    };
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let message = "an archive would garble the terminal: redirect it, or give --output=FILE";
        return Err(Failure::new(message));
    }
    let repo = session.open().await?;
    let commit = resolve(&repo, &rev).await?;
    let mut options = ExportOptions::default();
    if args.no_xattrs {
        options.xattrs = ExportXattrs::Omit;
    }
    if let Some(path) = args.subpath {
        options.subpath = path;
    }
    options.prefix = args.prefix.unwrap_or_default();
    // By OSTree's name it is put before names as it is, with a slash or without.
    if session.name == Name::Treeferry
        && !options.prefix.is_empty()
        && !options.prefix.ends_with('/')
    {
        options.prefix.push('/');
    }
    let archive = export(&repo, &commit, options).await?;
    match args.output {
        None => copy(archive, &mut output::stdout(), Failure::from).await,
        Some(path) => write_file(archive, &path).await,
    }
}

/// Writes a new file, which takes its place when it is whole; what is no file is written to as it is.
async fn write_file(
    archive: BoxStream<'_, treeferry_core::Result<Bytes>>,
    path: &Path,
) -> Result<()> {
    let failed = |error| io_failure(path, &error);
    let is_other = std::fs::metadata(path).is_ok_and(|there| !there.is_file());
    if is_other {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed)?;
        return copy(archive, &mut file, failed).await;
    }
    let mut file = file_text::draft(path)?;
    copy(archive, file.as_file_mut(), failed).await?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

async fn copy(
    mut archive: BoxStream<'_, treeferry_core::Result<Bytes>>,
    out: &mut impl Write,
    failed: impl Fn(std::io::Error) -> Failure,
) -> Result<()> {
    while let Some(chunk) = archive.next().await {
        out.write_all(&chunk?).map_err(&failed)?;
    }
    out.flush().map_err(failed)
}
