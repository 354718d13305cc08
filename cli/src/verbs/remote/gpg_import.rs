//! `remote gpg-import`.

use std::io::Read;
use std::path::{Path, PathBuf};

use treeferry_core::format::RemoteName;
use treeferry_core::repo::Repo;
use treeferry_core::store::ExtraName;
use treeferry_core_openpgp::{Keyring, KeyringPlaces, read_keyrings, remote_keyring};

use super::{in_sysroot, name_of};
use crate::failure::{Failure, Result};
use crate::gpg::exported;
use crate::output;
use crate::session::{Session, has_remote};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Import from this keyring; can be repeated (default: the user's own keys in GnuPG)
    #[arg(short, long, value_name = "FILE")]
    keyring: Vec<PathBuf>,
    /// Import from standard input
    #[arg(long)]
    stdin: bool,
    /// The system whose repository to use, in place of --repo
    #[arg(long, value_name = "PATH")]
    sysroot: Option<PathBuf>,
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Which keys (default: all)
    #[arg(value_name = "[KEY-ID...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.name.as_deref())?;
    if args.stdin && !args.keyring.is_empty() {
        let message = "--keyring and --stdin are mutually exclusive";
        return Err(Failure::usage(message));
    }
    let opened = in_sysroot(session, args.sysroot.clone())
        .open_place()
        .await?;
    if !has_remote(&opened, &name).await? {
        return Err(Failure::new(format!("Remote \"{name}\" not found")));
    }
    let keys = given(&args)?;
    import(&opened.repo, &name, keys).await
}

/// Reads the keys that are to be imported.
fn given(args: &Args) -> Result<Keyring> {
    let mut all = Keyring::default();
    if args.stdin {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        all = Keyring::parse(&bytes)?;
    } else if args.keyring.is_empty() {
        let wanted = match args.keys.is_empty() {
            true => &[String::new()][..],
            false => &args.keys,
        };
        for key in wanted {
            all.add(exported(key, None)?);
        }
        return Ok(all);
    }
    all.add(read_keyrings(&KeyringPlaces(args.keyring.clone()))?);
    if args.keys.is_empty() {
        return Ok(all);
    }
    let mut selected = Keyring::default();
    for key in &args.keys {
        let found = all.select(key);
        let found = found.ok_or_else(|| Failure::new(format!("Unable to find key \"{key}\"")))?;
        selected.add(found);
    }
    Ok(selected)
}

/// Reads the keys in a file for a remote that is being added.
pub(super) fn keys_in(path: &Path) -> Result<Keyring> {
    Ok(read_keyrings(&KeyringPlaces(vec![path.to_owned()]))?)
}

/// Adds keys to those that a remote is trusted by.
pub(super) async fn import(repo: &Repo, name: &RemoteName, keys: Keyring) -> Result<()> {
    if keys.is_empty() {
        return Err(Failure::new("there is no key to import"));
    }
    let mut keyring = remote_keyring(repo, name).await?.unwrap_or_default();
    let imported = keyring.add(keys).new;
    let bytes = keyring.to_bytes()?;
    let extra = ExtraName::Keyring(name.clone());
    repo.state().write_extra(&extra, Some(bytes.into())).await?;
    let plural = if imported == 1 { "" } else { "s" };
    let line = format!("Imported {imported} GPG key{plural} to remote \"{name}\"");
    Ok(output::line(line)?)
}
