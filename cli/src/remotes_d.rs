//! Remotes that stand beside a system's repository, each in a file of its own: those in
//! `/etc/ostree/remotes.d`, which is the deployment's and travels with its `/etc`.

use std::fs;
use std::path::{Path, PathBuf};

use treeferry_core::format::RemoteName;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::{IfExists, NewRemote};

use crate::failure::{Failure, Result, io_failure};
use crate::file_text;

/// Returns where such remotes of a repository are: only what runs from a deployment has them, and
/// that has the physical root below `sysroot`.
pub(crate) fn directory(repo: &Path) -> Option<PathBuf> {
    let root = match repo.to_str() {
        Some("/sysroot/ostree/repo") => Path::new("/"),
        _ if repo.ends_with("ostree/repo") => repo.ancestors().nth(2)?,
        _ => return None,
    };
    let is_deployment = root.join("sysroot").is_dir();
    is_deployment.then(|| root.join("etc/ostree/remotes.d"))
}

/// Reads them, in the order of their names.
pub(crate) fn read(directory: &Path) -> Result<Vec<KeyFile>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "conf")
    });
    paths.sort_unstable();
    let parse = |path: &PathBuf| {
        let bytes = file_text::read(path)?;
        KeyFile::parse(bytes).map_err(|e| Failure::from(e).context(path.display()))
    };
    paths.iter().map(parse).collect()
}

/// Adds one.
pub(crate) fn add(directory: &Path, remote: &NewRemote, if_exists: IfExists) -> Result<()> {
    let path = directory.join(format!("{}.conf", remote.name));
    match (path.exists(), if_exists) {
        (true, IfExists::Keep) => return Ok(()),
        (true, IfExists::Fail) => {
            let name = &remote.name;
            let message = format!("Remote configuration for \"{name}\" already exists");
            return Err(Failure::new(format!("{message}: {}", path.display())));
        }
        _ => {}
    }
    let group = format!("remote \"{}\"", remote.name);
    let mut file = KeyFile::new();
    let (key, url) = match remote.url.strip_prefix("metalink=") {
        Some(url) => ("metalink", url),
        None => ("url", &*remote.url),
    };
    file.set_string(&group, key, url)?;
    if !remote.branches.is_empty() {
        let branches = remote.branches.iter().map(|branch| branch.as_str());
        file.set_string_list(&group, "branches", branches)?;
    }
    for (key, value) in &remote.settings {
        file.set_string(&group, key, value)?;
    }
    fs::create_dir_all(directory).map_err(|e| io_failure(directory, &e))?;
    fs::write(&path, file.to_string()).map_err(|e| io_failure(&path, &e))
}

/// Deletes one; returns whether there was one of that name.
pub(crate) fn delete(directory: &Path, name: &RemoteName) -> Result<bool> {
    let path = directory.join(format!("{name}.conf"));
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_failure(&path, &e)),
    }
}
