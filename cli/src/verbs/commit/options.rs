//! From the command line of `commit` to the options of the library.

use std::path::PathBuf;
use std::sync::Arc;

use treeferry_core::format::gvariant::Value;
use treeferry_core::format::{Branch, Checksum, Refspec};
use treeferry_core::ops::commit::{
    ArchiveInput, Bindings, Bootable, CommitOptions, Executables, HardLinks, ImageDigest,
    MissingParents, Modifier, Parent, PathRename, Permissions, Sizes, SourceUse, TreeInput,
    Unchanged, XattrPolicy,
};
use treeferry_core::ops::labels::Labels;
use treeferry_core::repo::Repo;
use treeferry_core::store::Durability;

use super::Args;
use crate::editor::{Message, edit};
use crate::failure::{Failure, Result, io_failure};
use crate::session::resolve;
use crate::{dates, file_text, labels, unpack};

/// Returns what is asked for, with all files that are named read.
pub(super) async fn options(args: &Args, repo: &Repo) -> Result<CommitOptions> {
    let mut options = CommitOptions::default();
    let target = args.branch.as_deref().map(refspec).transpose()?;
    let bound = args.bind_ref.iter().map(|branch| branch_of(branch));
    let mut bound: Vec<Branch> = bound.collect::<Result<_>>()?;
    if args.orphan {
        // Bound to the branch that it is for, without moving it.
        bound.extend(target.map(|refspec| refspec.branch));
        options.parent = Parent::None;
    } else {
        options.target = target;
    }
    options.bindings = match args.no_bindings {
        true => Bindings::Omit,
        false => Bindings::Record(bound),
    };
    match args.parent.as_deref() {
        Some("none") => options.parent = Parent::None,
        Some(rev) => options.parent = Parent::Commit(parent(repo, rev).await?),
        None => {}
    }
    let message = message(args)?;
    options.subject = message.subject;
    options.body = message.body;
    options.timestamp = match &args.timestamp {
        Some(text) => dates::parse(text)?,
        None => dates::build_time()?,
    };
    if let Some(rev) = &args.base {
        options.base = Some(resolve(repo, rev).await?);
    }
    options.trees = trees(args, repo).await?;
    options.modifier = modifier(args)?;
    let labels = policy(args, repo, &options).await?;
    options.modifier.labels = labels.map(Arc::new);
    options.hard_links = match (args.devino_canonical, args.link_checkout_speedup) {
        (true, _) => HardLinks::Trust,
        (false, true) => HardLinks::Recognise,
        (false, false) => HardLinks::Read,
    };
    options.metadata = metadata(args)?;
    options.keep_metadata = args.keep_metadata.clone();
    let detached = args.add_detached_metadata_string.iter();
    options.detached_metadata = detached
        .map(|pair| string_pair(pair))
        .collect::<Result<_>>()?;
    options.signers = args.sign.signers()?;
    options.signers.extend(args.gpg.signers()?);
    if args.bootable {
        options.bootable = Bootable::Yes;
    }
    if args.generate_composefs_metadata {
        options.image_digest = ImageDigest::Record;
    }
    if args.generate_sizes {
        options.sizes = Sizes::Record;
    }
    if args.skip_if_unchanged {
        options.unchanged = Unchanged::Skip;
    }
    if args.consume {
        options.sources = SourceUse::Consume;
    }
    options.durability = durability(args.fsync.as_deref(), args.disable_fsync)?;
    Ok(options)
}

/// Reads a policy for `--fsync`: a boolean.
pub(crate) fn durability(policy: Option<&str>, disable: bool) -> Result<Durability> {
    let sync = match policy {
        None => true,
        Some("1" | "true" | "yes" | "on") => true,
        Some("0" | "false" | "no" | "none" | "off") => false,
        Some(other) => return Err(Failure::new(format!("Invalid boolean argument '{other}'"))),
    };
    Ok(match sync && !disable {
        true => Durability::Configured,
        false => Durability::None,
    })
}

fn refspec(text: &str) -> Result<Refspec> {
    text.parse()
        .map_err(|_| Failure::new(format!("Invalid refspec {text}")))
}

fn branch_of(text: &str) -> Result<Branch> {
    Branch::new(text).map_err(|_| Failure::new(format!("Invalid ref name {text}")))
}

async fn parent(repo: &Repo, rev: &str) -> Result<Checksum> {
    if let Ok(checksum) = rev.parse() {
        return Ok(checksum);
    }
    let resolved = resolve(repo, rev).await;
    resolved.map_err(|_| Failure::new(format!("Invalid rev {rev}")))
}

fn message(args: &Args) -> Result<Message> {
    let body = match &args.body_file {
        Some(path) => file_text::read_text(path)?,
        None => args.body.clone().unwrap_or_default(),
    };
    let message = Message {
        subject: args.subject.clone().unwrap_or_default(),
        body,
    };
    match args.editor {
        true => edit(&message, args.branch.as_deref()),
        false => Ok(message),
    }
}

async fn trees(args: &Args, repo: &Repo) -> Result<Vec<TreeInput>> {
    if args.tree.is_empty() {
        let path = args.path.clone().unwrap_or_else(|| PathBuf::from("."));
        return Ok(vec![TreeInput::Dir(path)]);
    }
    if args.path.is_some() {
        return Err(Failure::new("PATH and --tree cannot both be given"));
    }
    let mut trees = Vec::with_capacity(args.tree.len());
    for tree in &args.tree {
        let (kind, what) = tree
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("Missing type in tree specification '{tree}'")))?;
        trees.push(match kind {
            "dir" => TreeInput::Dir(what.into()),
            "ref" => TreeInput::Commit(resolve(repo, what).await?),
            "tar" => TreeInput::Archive(archive(what, args)?),
            _ => {
                let message = format!("Invalid tree type specification '{kind}'");
                return Err(Failure::new(message));
            }
        });
    }
    Ok(trees)
}

/// Opens an archive: a file, or `-` for standard input.
fn archive(path: &str, args: &Args) -> Result<ArchiveInput> {
    let mut input = match path {
        "-" => ArchiveInput::new(unpack::plain(std::io::stdin())?, "standard input"),
        _ => {
            let file = std::fs::File::open(path).map_err(|e| io_failure(path, &e))?;
            ArchiveInput::new(unpack::plain(file)?, path)
        }
    };
    if args.tar_autocreate_parents {
        input = input.missing_parents(MissingParents::Create);
    }
    if let Some(filter) = &args.tar_pathname_filter {
        let (expression, replacement) = filter
            .split_once(',')
            .ok_or_else(|| Failure::new("Missing ',' in --tar-pathname-filter"))?;
        input = input.rename(PathRename::new(expression, replacement)?);
    }
    Ok(input)
}

fn modifier(args: &Args) -> Result<Modifier> {
    let mut modifier = Modifier::default();
    // Scripts say -1 for "as it is".
    modifier.owner_uid = args.owner_uid.and_then(|uid| u32::try_from(uid).ok());
    modifier.owner_gid = args.owner_gid.and_then(|gid| u32::try_from(gid).ok());
    if args.mode_ro_executables {
        modifier.executables = Executables::ReadOnly;
    }
    if args.canonical_permissions {
        modifier.permissions = Permissions::Canonical;
    }
    if args.no_xattrs {
        modifier.xattrs = XattrPolicy::Drop;
    }
    if let Some(path) = &args.statoverride {
        modifier.stat_overrides = file_text::read_text(path)?.parse()?;
    }
    if let Some(path) = &args.skip_list {
        let Ok(list) = file_text::read_text(path)?.parse();
        modifier.skip_list = list;
    }
    Ok(modifier)
}

/// Reads the policy that labels are taken from, if any.
async fn policy(args: &Args, repo: &Repo, options: &CommitOptions) -> Result<Option<Labels>> {
    let found = match (&args.selinux_policy, args.selinux_policy_from_base) {
        (Some(_), true) => {
            let message = "Cannot specify both --selinux-policy and --selinux-policy-from-base";
            return Err(Failure::new(message));
        }
        (None, false) => return Ok(None),
        (Some(path), false) => labels::of_directory(repo, path).await?,
        (None, true) => match (&options.base, options.trees.first()) {
            (Some(commit), _) | (None, Some(TreeInput::Commit(commit))) => {
                let root = repo.tree_of(commit).await?;
                Labels::load_tree(repo, root).await?
            }
            (None, Some(TreeInput::Dir(path))) => labels::of_directory(repo, path).await?,
            _ => None,
        },
    };
    let epoch = labels::epoch(args.selinux_labeling_epoch)?;
    Ok(found.map(|labels| labels.with_epoch(epoch)))
}

fn metadata(args: &Args) -> Result<Vec<(String, Value)>> {
    let strings = args.add_metadata_string.iter();
    let mut metadata: Vec<_> = strings
        .map(|pair| string_pair(pair))
        .collect::<Result<_>>()?;
    for pair in &args.add_metadata {
        let (key, text) = split_pair(pair)?;
        let value = Value::parse_text(text, None)
            .map_err(|e| Failure::from(e).context(format_args!("Parsing {pair}")))?;
        metadata.push((key.to_owned(), value));
    }
    Ok(metadata)
}

fn string_pair(pair: &str) -> Result<(String, Value)> {
    let (key, value) = split_pair(pair)?;
    Ok((key.to_owned(), Value::Str(value.to_owned())))
}

/// Splits `KEY=VALUE`.
pub(crate) fn split_pair(pair: &str) -> Result<(&str, &str)> {
    let pair = pair
        .split_once('=')
        .ok_or_else(|| Failure::new(format!("Missing '=' in KEY=VALUE metadata '{pair}'")))?;
    match pair.0.is_empty() {
        true => Err(Failure::new("Empty metadata key")),
        false => Ok(pair),
    }
}
