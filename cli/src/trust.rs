//! Whose signatures count for a remote: its configuration, its keys, those of the machine.

use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::{RemoteConfig, Required};
use treeferry_core::sign::{KeyDirectories, SignVerify, Trust, VerifyPolicy};

use crate::dates;
use crate::failure::{Failure, Result};
use crate::keys::dummy_keys;
use crate::verbs::remote::verification_key;

/// Returns what must be signed of what comes from a remote, by its configuration.
pub(crate) fn of_remote(remote: &RemoteConfig) -> Result<VerifyPolicy> {
    refuse_openpgp(remote)?;
    let (directories, dummy) = (KeyDirectories::system(), dummy_keys());
    let mut policy = VerifyPolicy::default();
    policy.commits = remote.sign.commits(&directories, dummy)?;
    policy.summary = remote.sign.summary(&directories, dummy)?;
    policy.now_secs = Some(dates::now());
    Ok(policy)
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

/// A remote whose signatures cannot be checked must not be pulled from as if they had been.
fn refuse_openpgp(remote: &RemoteConfig) -> Result<()> {
    let wanted = [
        ("gpg-verify", remote.gpg_verify),
        ("gpg-verify-summary", remote.gpg_verify_summary),
    ];
    match wanted
        .iter()
        .find(|(_, required)| *required == Required::Yes)
    {
        None => Ok(()),
        Some((key, _)) => Err(Failure::new(format!(
            "Remote \"{0}\": {key} is on, and this version cannot verify signatures of OpenPGP; to \
             pull without: config set --group='remote \"{0}\"' {key} false",
            remote.name
        ))),
    }
}
