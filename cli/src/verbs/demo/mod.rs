//! `demo`: the main job, shown on a directory of this machine.
//!
//! Records the directory, serves the repository on a loopback port, pulls it into a second one,
//! checks that out and compares; then changes the tree, and does it all again for the update.

mod compare;
mod sample;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo};
use treeferry_core::archive::ArchiveRemote;
use treeferry_core::format::{Branch, Checksum, Refspec, RemoteName};
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutMode, CheckoutOptions, Destination, checkout,
};
use treeferry_core::ops::commit::{CommitOptions, Permissions, TreeInput, commit};
use treeferry_core::ops::pull::{Naming, PullOptions, PullRef, PullSource, pull};
use treeferry_core::pool::Pool;
use treeferry_core::repo::Repo;
use treeferry_transport_http::{HttpOptions, HttpTransport, ServeOptions, Server};

use super::size_text::size_text;
use crate::failure::{Failure, Result, io_failure};
use crate::session::{Session, repo_of};
use crate::{dates, output, progress};

const BRANCH: &str = "demo/stable";
const REMOTE: &str = "origin";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to show it on (default: the first that has enough files)
    #[arg(value_name = "[DIRECTORY]")]
    directory: Option<std::path::PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let place = tempfile::Builder::new()
        .prefix("treeferry-demo-")
        .tempdir()
        .map_err(|e| io_failure(std::env::temp_dir(), &e))?;
    // Ends by dropping `place` and all in it, also when interrupted.
    tokio::select! {
        outcome = show(&args, place.path(), session) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted")),
    }
}

async fn show(args: &Args, place: &Path, session: &Session) -> Result<()> {
    let tree = place.join("tree");
    let (directory, to) = (args.directory.clone(), tree.clone());
    let sample = blocking(move || sample::take(directory.as_deref(), &to)).await?;
    step("sample", format_args!("{sample}"))?;

    let builder = create(&place.join("builder"), FsMode::Archive).await?;
    let first = record(&builder, &tree, "the sample, as it was found").await?;

    let server = serve(&place.join("builder")).await?;
    let url = format!("http://{}/", server.local_addr());
    step("serve", format_args!("{url}"))?;
    let device = Device {
        repo: create(&place.join("device"), FsMode::BareUserOnly).await?,
        url,
        session: session.clone(),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        // An error means that the demo is over as well.
        let _ = stopped.await;
    }));
    device
        .update(first, &tree, &place.join("checkout-1"))
        .await?;

    let changed = tree.clone();
    let changes = blocking(move || sample.change(&changed)).await?;
    step("change", format_args!("{changes}"))?;
    let second = record(&builder, &tree, "a few changes").await?;
    device
        .update(second, &tree, &place.join("checkout-2"))
        .await?;

    drop(stop);
    serving
        .await
        .map_err(|e| Failure::new(format!("the server ended early: {e}")))?;
    output::line("Both trees are identical to what was recorded, before and after the update.")?;
    Ok(())
}

fn step(name: &str, what: impl std::fmt::Display) -> Result<()> {
    Ok(output::line(format_args!("{name:9} {what}"))?)
}

/// Runs `job` where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    Pool::new(1).run(move || Ok(job())).await?
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let result = work.await;
    (result, started.elapsed())
}

async fn create(path: &Path, mode: FsMode) -> Result<Repo> {
    let repo = FsRepo::create(path, mode, CreateOptions::default()).await?;
    Ok(repo_of(repo))
}

async fn record(repo: &Repo, tree: &Path, subject: &str) -> Result<Checksum> {
    let mut options = CommitOptions::default();
    options.target = Some(BRANCH.parse::<Refspec>()?);
    options.subject = subject.to_owned();
    options.timestamp = dates::now();
    options.trees = vec![TreeInput::Dir(tree.to_owned())];
    // Whoever runs this need not be root, so owners are not part of the picture.
    options.modifier.permissions = Permissions::Canonical;
    let (report, took) = timed(commit(repo, options)).await;
    let report = report?;
    let stats = &report.stats;
    let written = size_text(stats.content_bytes_written);
    step(
        "record",
        format_args!(
            "{BRANCH} = {}: {} files, {} new ones with {written}, in {:.2} s",
            short(&report.commit),
            stats.content_total,
            stats.content_written,
            took.as_secs_f64()
        ),
    )?;
    Ok(report.commit)
}

/// Returns the beginning of a checksum, enough for the eye.
fn short(checksum: &Checksum) -> String {
    checksum.to_string().chars().take(12).collect()
}

async fn serve(path: &Path) -> Result<Server> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(Server::bind(loopback, ServeOptions::new(path)).await?)
}

/// Where the tree is to run.
struct Device {
    repo: Repo,
    url: String,
    session: Session,
}

impl Device {
    /// Pulls `commit`, checks it out, and compares that with `tree`.
    async fn update(&self, commit: Checksum, tree: &Path, destination: &Path) -> Result<()> {
        self.pull(commit).await?;
        let mut options = CheckoutOptions::default();
        options.mode = CheckoutMode::User;
        let item = CheckoutItem::commit(commit);
        let to = Destination::path(destination);
        let (report, took) = timed(checkout(&self.repo, &item, &to, &options)).await;
        let report = report?;
        step(
            "check out",
            format_args!(
                "{} directories, {} files by hard link, {} by copy, in {:.2} s",
                report.dirs,
                report.files_linked,
                report.files_copied,
                took.as_secs_f64()
            ),
        )?;
        let (a, b) = (tree.to_owned(), destination.to_owned());
        let compared = blocking(move || compare::compare(&a, &b)).await?;
        step("compare", format_args!("{compared}"))
    }

    async fn pull(&self, commit: Checksum) -> Result<()> {
        let transport = HttpTransport::new(&self.url, HttpOptions::default()).await?;
        let source = PullSource::from(ArchiveRemote::new(Arc::new(transport)));
        let mut options = PullOptions::default();
        options.refs = vec![PullRef {
            branch: Some(Branch::new(BRANCH)?),
            commit: None,
        }];
        options.naming = Naming::Remote(RemoteName::new(REMOTE)?);
        let (reporter, drawing) = progress::draw(&self.session);
        options.replicate.progress = reporter;
        let (report, took) = timed(pull(&self.repo, &source, &options)).await;
        drawing.clear();
        let replicated = report?.replicated;
        step(
            "pull",
            format_args!(
                "{REMOTE}:{BRANCH} = {}: {} files and {} metadata objects, {} transferred, \
                 in {:.2} s",
                short(&commit),
                replicated.content_fetched,
                replicated.metadata_fetched,
                size_text(replicated.transferred_bytes),
                took.as_secs_f64()
            ),
        )
    }
}
