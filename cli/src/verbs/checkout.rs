//! `checkout`: writes a tree to a directory.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use treeferry_backend_fs::{FsMode, FsRepo, UnpackedCache};
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutMode, CheckoutOptions, Destination, DirModes, IfMissing, Overwrite,
    PassthroughWhiteouts, Sharing, SkipList, TreeSync, Whiteouts, checkout, checkout_all,
    checkout_image,
};
use treeferry_core::ops::composefs::FileDigests;
use treeferry_core::ops::list::{FileDetails, ListDepth, ListNode, ListOptions, list};
use treeferry_core::repo::Repo;
use treeferry_core::store::Durability;
use treeferry_core::{ErrorKind, Subject};

use super::commit::durability;
use super::ls::absolute;
use crate::failure::{Failure, Result, io_failure};
use crate::file_text;
use crate::labels::Prefixed;
use crate::place::Opened;
use crate::session::{Name, Session, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave out owners and extended attributes, as anyone but root must
    #[arg(short = 'U', long)]
    user_mode: bool,
    /// Unpack all files of an archive, and keep none of them unpacked in the repository
    #[arg(long, hide = true)]
    disable_cache: bool,
    /// Write only what is below PATH in the commit
    #[arg(long, value_name = "PATH")]
    subpath: Option<String>,
    /// Write into directories that are there, and replace their files
    #[arg(long)]
    union: bool,
    /// Write into directories that are there, and leave their files as they are
    #[arg(long)]
    union_add: bool,
    /// Add new files and directories, and fail if a file would be replaced by a different one
    #[arg(long)]
    union_identical: bool,
    /// Take a file named .wh.NAME as an order to delete NAME
    #[arg(long)]
    whiteouts: bool,
    /// Write .ostree-wh.NAME as NAME, a device 0:0 that hides a file in an overlay
    #[arg(long)]
    process_passthrough_whiteouts: bool,
    /// Succeed, writing nothing, when the --subpath is not in the commit
    #[arg(long)]
    allow_noent: bool,
    /// Take pairs of revision and subpath, each ended by NUL, from standard input
    #[arg(long)]
    from_stdin: bool,
    /// Take such pairs from FILE
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Whether what is written is synced before the command ends (default: no)
    #[arg(long, value_name = "POLICY")]
    fsync: Option<String>,
    /// Fail where a file cannot be a hard link to its object
    #[arg(short = 'H', long)]
    require_hardlinks: bool,
    /// Accepted for compatibility: empty files are always copied
    #[arg(short = 'z', long, hide = true)]
    force_copy_zerosized: bool,
    /// Write files of their own, that can be edited: no hard links to objects
    #[arg(short = 'C', long)]
    force_copy: bool,
    /// Mask the modes of directories with 0775
    #[arg(short = 'M', long)]
    bareuseronly_dirs: bool,
    /// Leave out the paths in FILE, absolute and one a line
    #[arg(long, value_name = "FILE")]
    skip_list: Option<PathBuf>,
    /// Label files by the SELinux policy of the system at PATH; copies them
    #[arg(long, value_name = "PATH")]
    selinux_policy: Option<PathBuf>,
    /// Look labels up as if the tree were at PREFIX
    #[arg(long, value_name = "PREFIX")]
    selinux_prefix: Option<String>,
    /// Write a composefs image to the file DESTINATION in place of a tree: names and metadata, and where in a
    /// repository that is no archive the content is, with the fs-verity digests that it must have
    #[arg(long)]
    composefs: bool,
    /// Write such an image without digests, which takes reading no content
    #[arg(long)]
    composefs_noverity: bool,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Where to write it (default: the name of the commit)
    #[arg(value_name = "[DESTINATION]")]
    destination: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let opened = session.open_place().await?;
    let repo = opened.repo.clone();
    if args.composefs || args.composefs_noverity {
        return image(&repo, &args, session.name).await;
    }
    let mut options = options(&args)?;
    let mode = opened.fs.as_ref().map(FsRepo::mode);
    if mode == Some(FsMode::BareUserOnly) {
        // Such a repository has files like that already.
        options.dir_modes = DirModes::BareUserOnly;
    }
    if args.selinux_policy.is_none() && args.selinux_prefix.is_some() {
        let message = "Cannot specify --selinux-prefix without --selinux-policy";
        return Err(Failure::new(message));
    }
    if let Some(path) = &args.selinux_policy {
        let prefix = args.selinux_prefix.as_deref();
        options.labels = Some(Prefixed::read(&repo, path, prefix).await?);
    }
    if args.from_stdin || args.from_file.is_some() {
        return many(&repo, &args, &options).await;
    }
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("COMMIT must be specified"));
    };
    let mut item = CheckoutItem::commit(resolve(&repo, rev).await?);
    item.subpath = args.subpath.clone();
    if args.allow_noent {
        item.if_missing = IfMissing::Ignore;
    }
    let destination = args.destination.clone().unwrap_or_else(|| rev.into());
    if args.require_hardlinks {
        let no_files = "--require-hardlinks takes a repository in a directory";
        let fs = opened.fs.as_ref().ok_or_else(|| Failure::new(no_files))?;
        refuse_other_device(fs, &destination)?;
        options.sharing = required_links(fs, &repo, &args, &item).await?;
    }
    let destination = Destination::path(destination);
    let unpacked = unpacked(&opened, &args, session.name).await?;
    options.unpacked = unpacked.clone().map(|cache| cache as _);
    let outcome = checkout(&repo, &item, &destination, &options).await;
    if let Some(cache) = unpacked {
        repo.pool().run(move || cache.collect()).await?;
    }
    outcome.map(drop).map_err(|error| {
        let subpath = item.subpath.as_deref().unwrap_or("/");
        let missing = error.kind() == ErrorKind::Missing
            && matches!(error.subject(), Some(Subject::Path(path)) if path == Path::new(subpath));
        match missing {
            true => Failure::new(format!("No such file or directory: {}", absolute(subpath))),
            false if args.destination.is_none() && session.name == Name::Treeferry => {
                Failure::from(error).with_help("DESTINATION says where else to write it")
            }
            false => error.into(),
        }
    })
}

/// Writes a composefs image.
async fn image(repo: &Repo, args: &Args, name: Name) -> Result<()> {
    let others = [
        args.disable_cache,
        args.whiteouts,
        args.process_passthrough_whiteouts,
        args.require_hardlinks,
        args.union_add,
        args.union_identical,
        args.force_copy,
        args.force_copy_zerosized,
        args.bareuseronly_dirs,
        args.from_stdin,
        args.from_file.is_some(),
        args.skip_list.is_some(),
        args.selinux_policy.is_some(),
        args.selinux_prefix.is_some(),
    ];
    // OSTree passes over these.
    let passed_over = [args.union, args.user_mode, args.subpath.is_some()];
    if others.contains(&true) || name == Name::Treeferry && passed_over.contains(&true) {
        let message = "Specified options are incompatible with --composefs";
        return Err(Failure::new(message));
    }
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("COMMIT must be specified"));
    };
    let commit = resolve(repo, rev).await?;
    let destination = args.destination.clone().unwrap_or_else(|| rev.into());
    let digests = match args.composefs_noverity {
        true => FileDigests::None,
        false => FileDigests::All,
    };
    checkout_image(repo, &commit, &Destination::path(destination), digests).await?;
    Ok(())
}

/// Returns where files of an archive are kept unpacked, if they are: OSTree does so unless told not
/// to, we do if told to.
async fn unpacked(opened: &Opened, args: &Args, name: Name) -> Result<Option<Arc<UnpackedCache>>> {
    let Some(fs) = opened.fs.as_ref().filter(|_| !args.disable_cache) else {
        return Ok(None);
    };
    let config = opened.repo.config().await?;
    let wanted = config.boolean("core", "enable-uncompressed-cache")?;
    let wanted = wanted.unwrap_or(name == Name::Ostree);
    Ok(UnpackedCache::new(fs).filter(|_| wanted).map(Arc::new))
}

/// Says early, and in OSTree's words, where no file of the repository can be a hard link.
fn refuse_other_device(fs: &FsRepo, destination: &Path) -> Result<()> {
    let parent = match destination.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match (fs.path().metadata(), parent.metadata()) {
        (Ok(repo), Ok(parent)) if repo.dev() != parent.dev() => {
            let (from, to) = (repo.dev(), parent.dev());
            let message = "Unable to do hardlink checkout across devices";
            Err(Failure::new(format!("{message} (src={from} dest={to})")))
        }
        _ => Ok(()),
    }
}

/// Returns how files are shared when they must be hard links, which those of some modes never can
/// be: that is an error only if there is one.
async fn required_links(
    fs: &FsRepo,
    repo: &Repo,
    args: &Args,
    item: &CheckoutItem,
) -> Result<Sharing> {
    let message = match (fs.mode(), args.user_mode) {
        (FsMode::Bare, true) => "Bare repository mode cannot hardlink in user checkout mode",
        (FsMode::BareUser, false) => "User repository mode requires user checkout mode to hardlink",
        _ => return Ok(Sharing::LinksOnly),
    };
    let root = repo.tree_of(&item.commit).await?;
    let path = item.subpath.as_deref().unwrap_or("/");
    let mut options = ListOptions::default();
    options.depth = ListDepth::All;
    let mut entries = list(repo, root, path, options).await?;
    while let Some(entry) = entries.try_next().await? {
        let ListNode::File { details, .. } = &entry.node else {
            continue;
        };
        // Empty files are always copied.
        let is_empty = |file: &FileDetails| file.content_bytes == 0 && !file.header.is_symlink();
        if !details.as_ref().is_some_and(is_empty) {
            return Err(Failure::new(message));
        }
    }
    Ok(Sharing::Links)
}

/// Checks out one after the other what a file names.
async fn many(repo: &Repo, args: &Args, options: &CheckoutOptions) -> Result<()> {
    // The one argument is where it goes.
    let (Some(destination), None) = (&args.commit, &args.destination) else {
        return Err(Failure::usage(
            "DESTINATION must be specified, and nothing else",
        ));
    };
    let text = match &args.from_file {
        Some(path) => file_text::read_text(path)?,
        None => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|e| io_failure("standard input", &e))?;
            text
        }
    };
    let mut items = Vec::new();
    let mut words = text.split('\0');
    while let Some(rev) = words.next().filter(|rev| !rev.trim().is_empty()) {
        let commit = resolve(repo, rev.trim_start_matches('\n')).await?;
        let path = words.next().unwrap_or("/");
        items.push(CheckoutItem::subpath(commit, path));
    }
    checkout_all(repo, &items, &Destination::path(destination), options).await?;
    Ok(())
}

fn options(args: &Args) -> Result<CheckoutOptions> {
    let mut options = CheckoutOptions::default();
    if args.user_mode {
        options.mode = CheckoutMode::User;
    }
    options.overwrite = overwrite(args)?;
    options.sharing = match (args.require_hardlinks, args.force_copy) {
        (true, true) => {
            let message = "Cannot specify both --require-hardlinks and --force-copy";
            return Err(Failure::new(message));
        }
        (true, false) => Sharing::LinksOnly,
        (false, true) => Sharing::Copies,
        (false, false) => Sharing::Links,
    };
    if args.whiteouts {
        options.whiteouts = Whiteouts::Process;
    }
    if args.process_passthrough_whiteouts {
        options.passthrough_whiteouts = PassthroughWhiteouts::Process;
    }
    if args.bareuseronly_dirs {
        options.dir_modes = DirModes::BareUserOnly;
    }
    if let Some(path) = &args.skip_list {
        let text = file_text::read_text(path)?;
        let lines = text.lines().filter(|line| !line.is_empty());
        options.skip = SkipList::new(lines.map(str::to_owned));
    }
    if let Some(policy) = args.fsync.as_deref()
        && durability(Some(policy), false)? == Durability::Configured
    {
        options.sync = TreeSync::Filesystem;
    }
    Ok(options)
}

fn overwrite(args: &Args) -> Result<Overwrite> {
    let both = |a: &str, b: &str| Failure::new(format!("Cannot specify both {a} and {b}"));
    match (args.union, args.union_add, args.union_identical) {
        (true, true, _) => Err(both("--union", "--union-add")),
        (true, _, true) => Err(both("--union", "--union-identical")),
        (_, true, true) => Err(both("--union-add", "--union-identical")),
        (_, _, true) if !args.require_hardlinks => Err(Failure::new(
            "--union-identical requires --require-hardlinks",
        )),
        (true, ..) => Ok(Overwrite::UnionFiles),
        (_, true, _) => Ok(Overwrite::AddFiles),
        (_, _, true) => Ok(Overwrite::UnionIdentical),
        (false, false, false) => Ok(Overwrite::Refuse),
    }
}
