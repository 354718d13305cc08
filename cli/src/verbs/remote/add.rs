//! `remote add`.

use std::path::PathBuf;

use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Branch, CollectionId};
use treeferry_core::repo::{IfExists, NewRemote};

use super::gpg_import::{import, keys_in};
use super::{in_sysroot, name_of};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::remotes_d;
use crate::session::{Name, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Set a key of the remote's configuration; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Accept commits without an OpenPGP signature
    #[arg(long)]
    no_gpg_verify: bool,
    /// Accept commits without a signature of another kind
    #[arg(long)]
    no_sign_verify: bool,
    /// Require signatures of this type by KEY: itself after inline, or a path after file
    #[arg(long, value_name = "KEYTYPE=inline:KEY or file:PATH")]
    sign_verify: Vec<String>,
    /// Trust the keys of OpenPGP in FILE for it
    #[arg(long, value_name = "FILE")]
    gpg_import: Option<PathBuf>,
    /// Succeed, changing nothing, if there is a remote of that name
    #[arg(long)]
    if_not_exists: bool,
    /// Take the place of a remote of that name
    #[arg(long)]
    force: bool,
    /// Say that another program, NAME, pulls from this remote
    #[arg(long, value_name = "NAME")]
    custom_backend: Option<String>,
    /// Where files are, if not where refs and metadata are
    #[arg(long, value_name = "URL")]
    contenturl: Option<String>,
    /// The collection that the remote's refs belong to
    #[arg(long, value_name = "COLLECTION-ID")]
    collection_id: Option<String>,
    /// The system whose repository to use, in place of --repo
    #[arg(long, value_name = "PATH")]
    sysroot: Option<PathBuf>,
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Where it is
    #[arg(value_name = "[metalink=|mirrorlist=]URL")]
    url: Option<String>,
    /// What a pull fetches that names no branch
    #[arg(value_name = "[BRANCH...]")]
    branches: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let no_url = String::new();
    let url = args.url.as_ref();
    let url = url.or(args.custom_backend.as_ref().map(|_| &no_url));
    let (Some(name), Some(url)) = (&args.name, url) else {
        return Err(Failure::usage("NAME and URL must be specified"));
    };
    let if_exists = match (args.if_not_exists, args.force) {
        (false, false) => IfExists::Fail,
        (true, false) => IfExists::Keep,
        (false, true) => IfExists::Replace,
        (true, true) => {
            let message = "Can only specify one of --if-not-exists and --force";
            return Err(Failure::usage(message));
        }
    };
    let branches = args.branches.iter().map(|branch| {
        Branch::new(branch).map_err(|_| Failure::new(format!("Invalid ref name {branch}")))
    });
    let remote = NewRemote {
        name: name_of(Some(name))?,
        url: url.clone(),
        branches: branches.collect::<Result<_>>()?,
        settings: settings(&args, session.name)?,
    };
    // Read before anything is changed.
    let keys = args.gpg_import.as_deref().map(keys_in).transpose()?;
    let session = in_sysroot(session, args.sysroot.clone());
    let repo = session.open().await?;
    let beside = args.sysroot.is_some() && adds_beside(&repo.config().await?)?;
    match (beside, remotes_d::directory(&session.repo_path()?)) {
        (true, Some(directory)) => remotes_d::add(&directory, &remote, if_exists)?,
        _ => repo.add_remote(&remote, if_exists).await?,
    }
    match keys {
        Some(keys) => import(&repo, &remote.name, keys).await,
        None => Ok(()),
    }
}

/// Returns whether remotes of a system stand beside its repository: they do unless it says otherwise.
fn adds_beside(config: &KeyFile) -> Result<bool> {
    Ok(config
        .boolean("core", "add-remotes-config-dir")?
        .unwrap_or(true))
}

/// Returns keys and values, in the order in which OSTree writes them.
fn settings(args: &Args, command: Name) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut put = |key: &str, value: &str| settings.push((key.to_owned(), value.to_owned()));
    if let Some(url) = &args.contenturl {
        put("contenturl", url);
    }
    if let Some(backend) = &args.custom_backend {
        put("custom-backend", backend);
    }
    for setting in &args.set {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::new("Missing '=' in KEY=VALUE for --set"))?;
        put(key, value);
    }
    if args.no_gpg_verify || args.no_sign_verify {
        put("gpg-verify", "false");
    }
    if args.no_sign_verify {
        put("sign-verify", "false");
    }
    let mut kinds: Vec<&str> = Vec::new();
    for key in &args.sign_verify {
        let (kind, place, data) = verification_key(key)?;
        put(&format!("verification-{kind}-{place}"), data);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if !kinds.is_empty() {
        put("sign-verify", &kinds.join(";"));
    }
    if let Some(id) = &args.collection_id {
        // The other writes down what it is given, and complains when it is used.
        if command == Name::Treeferry {
            CollectionId::new(id).map_err(|e| {
                Failure::from(e).context(format_args!("Invalid collection ID {id}"))
            })?;
        }
        put("collection-id", id);
    }
    Ok(settings)
}

/// Reads `KEYTYPE=inline:KEY` or `KEYTYPE=file:PATH`.
pub(crate) fn verification_key(text: &str) -> Result<(&str, &'static str, &str)> {
    let malformed = || {
        Failure::new(format!(
            "Failed to parse KEYTYPE=[inline|file]:DATA in {text}"
        ))
    };
    let (kind, rest) = text.split_once('=').ok_or_else(malformed)?;
    keys::scheme(Some(kind))?;
    match rest.split_once(':').ok_or_else(malformed)? {
        ("inline", key) => Ok((kind, "key", key)),
        ("file", path) => Ok((kind, "file", path)),
        (place, _) => Err(Failure::new(format!(
            "Invalid key reference {place}, expected inline|file"
        ))),
    }
}
