//! `pull`: brings commits from a remote.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use treeferry_backend_fs::SummaryCacheDir;
use treeferry_core::format::{Branch, Refspec};
use treeferry_core::ops::delta::TakeDeltas;
use treeferry_core::ops::pull::{
    AgeCheck, Bindings, DeltaUse, KeepSummary, Naming, PullOptions, PullRef, PullReport,
    PullSource, RefsFrom, pull,
};
use treeferry_core::ops::replicate::{
    Depth, FilePolicy, LocalTrust, RemoteTrust, ReplicateOptions, Scope,
};
use treeferry_core::repo::{RemoteConfig, Repo};
use treeferry_core::sign::VerifyPolicy;
use treeferry_core::store::{Durability, Encoding};
use treeferry_transport_http::{HttpOptions, LowSpeed};

use super::delta_text;
use super::pull_deltas;
use super::pull_from;
use super::pull_text::{totals, warn_of_ends};
use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::place::is_address;
use crate::rate::LimitRate;
use crate::session::{Name, Session, open_fs, remote_config, resolve};
use crate::{dates, delta_budget, failpoint, json, output, progress, source, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    rate: LimitRate,
    /// Where signed summaries are kept until they change (default: tmp/cache in the repository)
    #[arg(long, value_name = "PATH")]
    cache_dir: Option<PathBuf>,
    /// Refuse a summary that was made more than SECONDS ago, or has expired
    #[arg(long, value_name = "SECONDS")]
    max_summary_age: Option<u64>,
    /// Refuse a commit that was made more than SECONDS ago: its ref may be held back
    #[arg(long, value_name = "SECONDS")]
    max_commit_age: Option<u64>,
    /// Keep refs by the names the remote has for them; without BRANCH, all of them
    #[arg(long)]
    mirror: bool,
    /// With --mirror: keep the static deltas as well that make what is pulled
    #[arg(long, requires = "mirror")]
    static_deltas: bool,
    /// Bring only what is below PATH; can be repeated
    #[arg(long, value_name = "PATH")]
    subpath: Vec<String>,
    /// With --mirror, into an archive: keep files as the remote sends them, without hashing them.
    /// Damage comes along, and `fsck` finds it
    #[arg(long)]
    http_trusted: bool,
    /// Say how much would come, and bring nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// With --dry-run: read the header of each missing file, so that totals are exact
    #[arg(long, requires = "dry_run")]
    pub(super) exact: bool,
    /// Print what came as JSON
    #[arg(long)]
    json: bool,
    /// Pull from here, and not from where the remote's configuration says
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Send this HTTP header with each request; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    http_header: Vec<String>,
    /// Accepted for compatibility: progress is drawn as it happens
    #[arg(long, value_name = "MS", hide = true)]
    update_frequency: Option<u32>,
    /// How often to try a file again after a network error (default: 5)
    #[arg(long, value_name = "N")]
    network_retries: Option<u32>,
    /// Fail at the first network error
    #[arg(long)]
    disable_retry_on_network_errors: bool,
    /// Give up when fewer bytes a second than this come (default: 1000)
    #[arg(long, value_name = "N")]
    low_speed_limit_bytes: Option<u64>,
    /// For so many seconds (default: 30)
    #[arg(long, value_name = "N")]
    low_speed_time_seconds: Option<u64>,
    /// The most requests under way at once
    #[arg(long, value_name = "N")]
    max_outstanding_fetcher_requests: Option<usize>,
    /// Look for objects in REPO first
    #[arg(short = 'L', long, value_name = "REPO")]
    localcache_repo: Vec<PathBuf>,
    /// Refuse a commit that is older than the one its ref has here
    #[arg(short = 'T', long)]
    timestamp_check: bool,
    /// Refuse a commit that is older than REV
    #[arg(long, value_name = "REV")]
    timestamp_check_from_rev: Option<String>,
    /// Add words to the user agent
    #[arg(long, value_name = "WORDS", hide = true)]
    append_user_agent: Option<String>,
    /// The name of the remote, REMOTE:BRANCH, or an address: what that has is not verified to be signed
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,
    /// What to pull: branches, each with the commit to take if not the newest, or commits
    #[arg(value_name = "[BRANCH[@COMMIT]...]")]
    pub(super) branches: Vec<String>,
}

/// The options that `pull` and `pull-local` share.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Bring commits alone, without trees and files
    #[arg(long)]
    commit_metadata_only: bool,
    /// Do not wait for the disk: a power cut may take what was written
    #[arg(long)]
    pub(super) disable_fsync: bool,
    /// Sync objects one by one, which is slower and easier on other programs
    #[arg(long)]
    per_object_fsync: bool,
    /// Bring objects one by one, even if the remote has a delta
    #[arg(long)]
    disable_static_deltas: bool,
    /// Fail if the remote has no delta
    #[arg(long)]
    require_static_deltas: bool,
    /// Read all that comes from a repository on this machine before it counts (our own name: the default)
    #[arg(long, conflicts_with = "trusted")]
    untrusted: bool,
    /// Believe a repository on this machine: link its objects without reading them, and copy files without
    /// refusing those that are damaged. `fsck` finds them
    #[arg(long)]
    trusted: bool,
    /// Refuse a file whose mode has other bits than 0775
    #[arg(long)]
    bareuseronly_files: bool,
    /// How many ancestors to bring as well, -1 for all (default: 0)
    #[arg(
        long,
        value_name = "DEPTH",
        default_value_t = 0,
        hide_default_value = true
    )]
    depth: i32,
    /// Accept commits that say they are for another ref
    #[arg(long)]
    disable_verify_bindings: bool,
    /// Require that commits are signed by this KEY or one in the file at PATH; can be repeated
    #[arg(long, value_name = "KEYTYPE=inline:KEY or file:PATH")]
    sign_verify: Vec<String>,
    /// Require that the summary is, too
    #[arg(long, requires = "sign_verify")]
    sign_verify_summary: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    args.rate.apply();
    if let (Name::Treeferry, Some(address)) = (session.name, &args.remote)
        && is_address(address)
    {
        return pull_from::run(&args, address, session).await;
    }
    let (name, branches) = remote_and_branches(&args)?;
    let ostree = session.name == Name::Ostree;
    if ostree && args.dry_run && !args.common.require_static_deltas {
        return Err(Failure::new("--dry-run requires --require-static-deltas"));
    }
    let mut opened = session.open_place().await?;
    if args.common.disable_fsync {
        opened = opened.unsynced();
    }
    let repo = opened.repo.clone();
    // Ours applies deltas there too; whoever calls the other expects to be told to do without.
    if ostree && args.common.require_static_deltas && repo.objects().encoding() == Encoding::Filez {
        return Err(Failure::new("Can't use static deltas in an archive repo"));
    }
    let remote = remote_config(&opened, &name.parse()?).await?;
    if let Some(backend) = &remote.custom_backend {
        let message = format!("remote '{name}' uses custom backend '{backend}'");
        return Err(Failure::new(format!(
            "Cannot pull via {}: {message}",
            session.name.as_str()
        )));
    }
    if let Some(text) = &remote.unconfigured_state {
        return Err(Failure::new(format!("remote unconfigured-state: {text}")));
    }
    let mut options = args.library_options(&repo, session.name).await?;
    let demanded = trust::of_remote(&opened, &remote).await?;
    options.verify = demanded.and(options.verify);
    options.refs = match branches.is_empty() {
        false => branches
            .iter()
            .map(|b| pull_ref(b))
            .collect::<Result<_>>()?,
        true if args.mirror => Vec::new(),
        true => configured_refs(&remote)?,
    };
    options.naming = naming(&args, &repo, &remote).await?;
    options.collection_id = remote.collection_id.clone();
    let (summary, commit) = (remote.summary_age_secs_max, remote.commit_age_secs_max);
    let freshness = &mut options.freshness;
    freshness.summary_age_secs_max = freshness.summary_age_secs_max.or(summary);
    freshness.commit_age_secs_max = freshness.commit_age_secs_max.or(commit);
    let cache = match (&args.cache_dir, &opened.fs) {
        (Some(directory), _) => Some(directory.clone()),
        (None, Some(fs)) => Some(fs.path().join("tmp/cache")),
        (None, None) => None,
    };
    options.summary_cache = cache.map(|directory| {
        let cache = Arc::new(SummaryCacheDir::new(directory, &remote.name));
        failpoint::summary_cache(session.name, cache)
    });
    options.replicate.before_commit = failpoint::before_commit(session.name);
    if args.mirror && options.refs.is_empty() {
        options.summary = KeepSummary::Yes;
    }
    let http = source::http_options(&repo, &remote, session.name).await?;
    let http = with_options(http, &args)?;
    let url = args.url.as_deref().unwrap_or(&remote.url);
    // A URL that stands in for the remote's stands in for its content as well.
    let content_url = remote.content_url.as_deref().filter(|_| args.url.is_none());
    let source = source::open(url, content_url, &http).await?;
    args.limit_trust(&source, &mut options);
    if ostree && source.objects.local().is_none() {
        options.refs_from = RefsFrom::Summary;
    }

    options.delta_budget = delta_budget::to_apply(&opened);
    if args.dry_run && args.common.require_static_deltas {
        return pull_deltas::dry_run(&repo, &source, &options).await;
    }
    if args.dry_run {
        return pull_from::dry_run(&args, &repo, &source, options).await;
    }
    let started = Instant::now();
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = pull(&repo, &source, &options).await;
    drawing.clear();
    let report = report?;
    warn_of_ends(session, &report);
    // A mirror has the summary of what it mirrors.
    if options.summary == KeepSummary::No {
        after(Change::Ref, &repo).await?;
    }
    if args.json {
        delta_text::warn_of_left_out(&report.kept_deltas);
        return json::line(&json::of_pull(&report));
    }
    if session.quiet {
        return Ok(());
    }
    output::line(totals(&report, started.elapsed(), session.name))?;
    print_refs(session, &report)?;
    delta_text::print_taken(&report.kept_deltas)
}

/// Prints what moved, by our own name; scripts that know the other do not expect it.
pub(super) fn print_refs(session: &Session, report: &PullReport) -> Result<()> {
    if session.name == Name::Ostree || session.quiet {
        return Ok(());
    }
    for pulled in &report.refs {
        let Some(name) = &pulled.name else { continue };
        match &pulled.before {
            Some(before) if *before == pulled.now => output::line(format!("{name} is up to date"))?,
            Some(before) => output::line(format!("{name} {before} -> {}", pulled.now))?,
            None => output::line(format!("{name} (new) {}", pulled.now))?,
        }
    }
    Ok(())
}

impl Args {
    /// Returns the options of the library that do not depend on where from.
    pub(super) async fn library_options(&self, repo: &Repo, name: Name) -> Result<PullOptions> {
        let mut options = self.common.pull_options(name)?;
        options.age = match &self.timestamp_check_from_rev {
            Some(rev) => AgeCheck::NotOlderThan(resolve(repo, rev).await?),
            None if self.timestamp_check => AgeCheck::NotOlderThanRef,
            None => AgeCheck::Any,
        };
        options.freshness.summary_age_secs_max = self.max_summary_age;
        options.freshness.commit_age_secs_max = self.max_commit_age;
        for path in &self.localcache_repo {
            let cache = open_fs(path.clone())
                .await
                .map_err(|e| e.context("opening repo"))?;
            options.local_caches.push(Arc::new(cache));
        }
        if self.static_deltas {
            options.keep_deltas = TakeDeltas::Yes;
        }
        if self.http_trusted && self.mirror {
            options.replicate.remote_trust = RemoteTrust::VouchedMirror;
        }
        set_transfer(&mut options.replicate, self);
        Ok(options)
    }

    /// Believes nothing that comes beside a remote which itself is not believed.
    pub(super) fn limit_trust(&self, source: &PullSource, options: &mut PullOptions) {
        if source.objects.local().is_none() || !self.localcache_repo.is_empty() {
            options.replicate.local_trust = LocalTrust::Verify;
        }
    }
}

fn remote_and_branches(args: &Args) -> Result<(String, Vec<String>)> {
    let Some(remote) = &args.remote else {
        return Err(Failure::usage("REMOTE must be specified"));
    };
    if !remote.contains(':') {
        return Ok((remote.clone(), args.branches.clone()));
    }
    let refspec: Refspec = remote
        .parse()
        .map_err(|_| Failure::new(format!("Invalid refspec {remote}")))?;
    let name = refspec.remote.map(|remote| remote.to_string());
    Ok((name.unwrap_or_default(), vec![refspec.branch.to_string()]))
}

/// Reads `BRANCH`, `BRANCH@COMMIT` or `COMMIT`.
pub(super) fn pull_ref(text: &str) -> Result<PullRef> {
    if let Ok(commit) = text.parse() {
        return Ok(PullRef {
            branch: None,
            commit: Some(commit),
        });
    }
    let (branch, commit) = match text.split_once('@') {
        Some((branch, commit)) => (branch, Some(commit.parse()?)),
        None => (text, None),
    };
    let branch =
        Branch::new(branch).map_err(|_| Failure::new(format!("Invalid ref name {branch}")))?;
    Ok(PullRef {
        branch: Some(branch),
        commit,
    })
}

fn configured_refs(remote: &RemoteConfig) -> Result<Vec<PullRef>> {
    if remote.branches.is_empty() {
        let message = format!("No configured branches for remote {}", remote.name);
        return Err(Failure::new(message));
    }
    let refs = remote.branches.iter().map(|branch| PullRef {
        branch: Some(branch.clone()),
        commit: None,
    });
    Ok(refs.collect())
}

async fn naming(args: &Args, repo: &Repo, remote: &RemoteConfig) -> Result<Naming> {
    if !args.mirror {
        return Ok(Naming::Remote(remote.name.clone()));
    }
    Ok(match &remote.collection_id {
        Some(id) if repo.collection_id().await?.as_ref() != Some(id) => {
            Naming::Collection(id.clone())
        }
        _ => Naming::Own,
    })
}

fn set_transfer(options: &mut ReplicateOptions, args: &Args) {
    if !args.subpath.is_empty() {
        options.scope = Scope::Subpaths(args.subpath.clone());
    }
    if let Some(retries) = args.network_retries {
        options.retry.retries = retries;
    }
    if args.disable_retry_on_network_errors {
        options.retry.retries = 0;
    }
    // Many clients that fail together do not come back together.
    options.retry.seed = u64::from(std::process::id());
    if let Some(most) = args.max_outstanding_fetcher_requests {
        options.requests_max = most.max(1);
    }
}

fn with_options(mut options: HttpOptions, args: &Args) -> Result<HttpOptions> {
    for header in &args.http_header {
        let (name, value) = header
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("Missing '=' in --http-header={header}")))?;
        options = options.header(name, value)?;
    }
    if let Some(words) = &args.append_user_agent {
        options = options.append_user_agent(words);
    }
    let (bytes, seconds) = (args.low_speed_limit_bytes, args.low_speed_time_seconds);
    if bytes.is_some() || seconds.is_some() {
        options = options.low_speed(Some(LowSpeed {
            bytes_per_second: bytes.unwrap_or(1000),
            window_ms: seconds.unwrap_or(30).saturating_mul(1000),
        }));
    }
    Ok(options)
}

impl Common {
    /// Returns which signatures the command line asks for, whatever else does.
    fn trust(&self) -> Result<VerifyPolicy> {
        let trust = trust::of_keys(&self.sign_verify)?;
        let mut policy = VerifyPolicy::commits(trust.clone(), dates::now());
        if self.sign_verify_summary {
            policy.summary = trust;
        }
        Ok(policy)
    }

    /// Returns whether objects of repositories on this machine are linked without being read.
    ///
    /// `ostree` says of itself that it does so unless told otherwise, and scripts rely on its speed.
    fn local_trust(&self, name: Name) -> LocalTrust {
        match (self.trusted, self.untrusted, name) {
            (true, ..) | (false, false, Name::Ostree) => LocalTrust::Vouched,
            (false, true, _) | (false, false, Name::Treeferry) => LocalTrust::Verify,
        }
    }

    /// Returns the options of the library that these are.
    pub(super) fn pull_options(&self, name: Name) -> Result<PullOptions> {
        let mut options = PullOptions::default();
        options.verify = self.trust()?;
        options.deltas = match (self.require_static_deltas, self.disable_static_deltas) {
            (true, true) => {
                let message = "--require-static-deltas contradicts --disable-static-deltas";
                return Err(Failure::new(message));
            }
            (true, false) => DeltaUse::Required,
            (false, true) => DeltaUse::Never,
            (false, false) => DeltaUse::WhenSmaller,
        };
        if self.disable_verify_bindings {
            options.bindings = Bindings::Ignore;
        }
        let replicate = &mut options.replicate;
        replicate.local_trust = self.local_trust(name);
        replicate.depth = match u32::try_from(self.depth) {
            Ok(parents) => Depth::Parents(parents),
            Err(_) => Depth::All,
        };
        if self.commit_metadata_only {
            replicate.scope = Scope::CommitMetadataOnly;
        }
        if self.bareuseronly_files {
            replicate.files = FilePolicy::BareUserOnly;
        }
        replicate.durability = match (self.disable_fsync, self.per_object_fsync) {
            (true, _) => Durability::None,
            (false, true) => Durability::PerObject,
            (false, false) => Durability::Configured,
        };
        Ok(options)
    }
}
