//! Whose signatures count for a remote: its configuration, its keys, those of the machine.

use treeferry_backend_fs::FsRepo;
use treeferry_core::format::RemoteName;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::{RemoteConfig, Required};
use treeferry_core::sign::{KeyDirectories, SignVerify, Trust, VerifyPolicy};

use treeferry_core_openpgp::{
    Keyring, KeyringPlaces, OpenPgpVerifier, read_keyrings, remote_keyring,
};

use crate::dates;
use crate::failure::Result;
use crate::keys::dummy_keys;
use crate::place::Opened;
use crate::session::{Session, configs, repo_of};
use crate::verbs::remote::verification_key;

/// Returns what must be signed of what comes from a remote, by its configuration.
pub(crate) async fn of_remote(opened: &Opened, remote: &RemoteConfig) -> Result<VerifyPolicy> {
    let (directories, dummy) = (KeyDirectories::system(), dummy_keys());
    let mut policy = VerifyPolicy::default();
    policy.commits = remote.sign.commits(&directories, dummy)?;
    policy.summary = remote.sign.summary(&directories, dummy)?;
    policy.deltas = remote.sign.deltas(&directories, dummy)?;
    policy.now_secs = Some(dates::now());
    let (commits, summary) = (remote.gpg_verify, remote.gpg_verify_summary);
    Ok(policy.and(of_keyrings(opened, remote, commits, summary).await?))
}

/// Returns what [`of_remote`] does, of a remote of the repository at hand.
pub(crate) async fn at_hand(session: &Session, remote: &RemoteConfig) -> Result<VerifyPolicy> {
    of_remote(&session.open_place().await?, remote).await
}

/// Returns the policy that what is required carries a signature by the keyrings of a remote.
pub(crate) async fn of_keyrings(
    opened: &Opened,
    remote: &RemoteConfig,
    commits: Required,
    summary: Required,
) -> Result<VerifyPolicy> {
    let mut policy = VerifyPolicy::default();
    policy.now_secs = Some(dates::now());
    if (commits, summary) == (Required::No, Required::No) {
        return Ok(policy);
    }
    let keyring = keyring_of(opened, remote).await?;
    let trust = Trust::signed(OpenPgpVerifier::new(keyring));
    if commits == Required::Yes {
        policy.commits = trust.clone();
    }
    if summary == Required::Yes {
        policy.summary = trust;
    }
    Ok(policy)
}

/// Returns the keys that count for a remote: its own and those its configuration names; only
/// where there are neither the machine's.
pub(crate) async fn keyring_of(opened: &Opened, remote: &RemoteConfig) -> Result<Keyring> {
    let own = own_keyring(opened, &remote.name).await?;
    let mut places = KeyringPlaces(remote.gpg_key_paths()?);
    if own.is_none() && places.0.is_empty() {
        places = global_places();
    }
    let mut keyring = own.unwrap_or_default();
    keyring.add(read_keyrings(&places)?);
    Ok(keyring)
}

/// Returns the keys that count for any remote, and those of the machine: for looking at signatures.
pub(crate) async fn all_keyrings(opened: &Opened) -> Result<Keyring> {
    let mut keyring = read_keyrings(&global_places())?;
    for config in configs(opened).await? {
        for name in RemoteConfig::list(&config) {
            if let Some(own) = own_keyring(opened, &name).await? {
                keyring.add(own);
            }
        }
    }
    Ok(keyring)
}

/// Returns the keys that belong to a remote, in the repository or one of its parents.
pub(crate) async fn own_keyring(opened: &Opened, name: &RemoteName) -> Result<Option<Keyring>> {
    let found = remote_keyring(&opened.repo, name).await?;
    let mut next = opened.fs.as_ref().and_then(FsRepo::parent);
    let mut found = found;
    while let (None, Some(fs)) = (&found, next) {
        found = remote_keyring(&repo_of(fs.clone()), name).await?;
        next = fs.parent();
    }
    Ok(found)
}

/// Returns where the machine's keyrings are, as far as there are any.
pub(crate) fn global_places() -> KeyringPlaces {
    let home = std::env::var_os("OSTREE_GPG_HOME").filter(|home| !home.is_empty());
    let mut places = match home {
        Some(home) => KeyringPlaces(vec![home.into()]),
        None => KeyringPlaces::system(),
    };
    places.0.retain(|place| place.exists());
    places
}

/// Returns the trust in keys that were given as `KEYTYPE=inline:KEY` or `KEYTYPE=file:PATH`: any of
/// them will do.
pub(crate) fn of_keys(keys: &[String]) -> Result<Trust> {
    if keys.is_empty() {
        return Ok(Trust::Anyone);
    }
    // The same words as in a configuration mean the same.
    let (name, group) = ("given".parse()?, "remote \"given\"");
    let mut config = KeyFile::default();
    let mut kinds: Vec<&str> = Vec::new();
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for key in keys {
        let (kind, place, data) = verification_key(key)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        let key = format!("verification-{kind}-{place}");
        match values.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(data),
            None => values.push((key, vec![data])),
        }
    }
    config.set_string_list(group, "sign-verify", kinds)?;
    for (key, values) in values {
        config.set_string_list(group, &key, values)?;
    }
    let sign = SignVerify::read(&config, &name)?;
    Ok(sign.commits(&KeyDirectories::default(), dummy_keys())?)
}
