//! Refs: files that hold a checksum, and symbolic links that are aliases.

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use treeferry_core::error::{Error, ErrorKind, Result, Subject};
use treeferry_core::format::{Branch, Checksum, CollectionId, RemoteName};
use treeferry_core::store::{
    ExpectedRef, RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue,
};

use crate::repo::FsRepo;
use crate::sys::{self, failed};

/// A ref holds 64 digits and a line end. Longer than this it is something else.
const REF_BYTES_MAX: u64 = 4096;
const REF_MODE: Mode = Mode::from_raw_mode(0o644);

#[async_trait]
impl RefStore for FsRepo {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        let name = name.clone();
        self.run(move |repo| repo.read_ref_blocking(&name)).await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        let space = space.clone();
        self.run(move |repo| {
            let mut refs = Vec::new();
            for (prefix, name_in) in name_spaces(repo, &space)? {
                list_below(repo, &prefix, &*name_in, &mut refs)?;
            }
            refs.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(refs)
        })
        .await
    }

    /// Exact among treeferry's own writers, who take a lock for it. The C `ostree` takes none when
    /// it sets a ref: against it the last writer wins.
    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let lock = self.lock_state().await?;
        let updates = updates.to_vec();
        self.run(move |repo| {
            let _held = lock;
            repo.update_blocking(&updates)
        })
        .await
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        RefAtomicity::Each
    }
}

impl FsRepo {
    /// Reads a ref here, and then in the parents. Blocking.
    fn read_ref_blocking(&self, name: &RefName) -> Result<Option<RefValue>> {
        match (self.read_own_ref(name)?, self.parent()) {
            (None, Some(parent)) => parent.read_ref_blocking(name),
            (found, _) => Ok(found),
        }
    }

    fn read_own_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        let path = name.path();
        let about = |e: Error| e.about(Subject::Ref(name.to_string()));
        let Some(stat) = sys::stat(self.dir(), &path).map_err(about)? else {
            return Ok(None);
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(None),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.dir(), &path, Vec::new())
                    .map_err(failed(&path, "cannot be read"))?;
                let target = target.to_str().ok().and_then(|t| resolve_alias(name, t));
                let target = target.ok_or_else(|| {
                    about(Error::corrupt(
                        "is a symbolic link, but not to a ref of the same name space",
                    ))
                })?;
                Ok(Some(RefValue::Alias(target)))
            }
            FileType::RegularFile => {
                let too_long = sys::length(&stat) > REF_BYTES_MAX;
                let bytes = match too_long {
                    true => Some(Bytes::new()),
                    false => sys::read_file(self.dir(), &path, REF_BYTES_MAX).map_err(about)?,
                };
                let Some(bytes) = bytes else {
                    return Ok(None);
                };
                let commit = parse_ref(&bytes);
                let commit = commit.ok_or_else(|| {
                    about(Error::corrupt(
                        "does not hold a checksum: delete it, or set it to a commit",
                    ))
                })?;
                Ok(Some(RefValue::Commit(commit)))
            }
            _ => Err(about(Error::corrupt("is not a regular file"))),
        }
    }

    fn update_blocking(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let mut answers = Vec::with_capacity(updates.len());
        for update in updates {
            let current = match self.read_ref_to_update(update) {
                // A damaged ref can be overwritten by whoever does not care what it held.
                Err(e)
                    if update.expected == ExpectedRef::Any
                        && e.kind() != ErrorKind::Unsupported =>
                {
                    None
                }
                current => current?,
            };
            answers.push(match update.expected.matches(current.as_ref()) {
                true => RefAnswer::Committed,
                false => RefAnswer::Conflict { current },
            });
        }
        // Deletions first, so that `a` can become `a/b` in one go, and back.
        let matched = updates.iter().zip(&answers);
        let mut matched: Vec<&RefUpdate> = matched
            .filter(|(_, answer)| **answer == RefAnswer::Committed)
            .map(|(update, _)| update)
            .collect();
        matched.sort_by_key(|update| update.new.is_some());
        for update in matched {
            let about = |e: Error| e.about(Subject::Ref(update.name.to_string()));
            match &update.new {
                None => self.delete_ref(&update.name),
                Some(RefValue::Commit(commit)) => self.write_commit(&update.name, commit),
                Some(RefValue::Alias(target)) => self.write_alias(&update.name, target),
            }
            .map_err(about)?;
        }
        Ok(answers)
    }

    /// Reads what an update is compared with: to delete one takes a ref of our own.
    fn read_ref_to_update(&self, update: &RefUpdate) -> Result<Option<RefValue>> {
        if update.new.is_some() {
            return self.read_ref_blocking(&update.name);
        }
        let own = self.read_own_ref(&update.name)?;
        let Some(parent) = self.parent().filter(|_| own.is_none()) else {
            return Ok(own);
        };
        match parent.read_ref_blocking(&update.name)? {
            None => Ok(None),
            Some(_) => {
                let problem = format!(
                    "is a ref of the parent repository {}: delete it there",
                    parent.path().display()
                );
                Err(Error::unsupported(problem).about(Subject::Ref(update.name.to_string())))
            }
        }
    }

    fn delete_ref(&self, name: &RefName) -> Result<()> {
        let path = name.path();
        if sys::remove_file(self.dir(), &path)? {
            sys::sync_parent(self.dir(), &path, self.durable())?;
        }
        Ok(())
    }

    fn write_commit(&self, name: &RefName, commit: &Checksum) -> Result<()> {
        let path = name.path();
        self.make_room(&path)?;
        let line = format!("{commit}\n");
        sys::replace_file(self.dir(), &path, line.as_bytes(), REF_MODE, self.durable())
    }

    fn write_alias(&self, name: &RefName, target: &RefName) -> Result<()> {
        let problem = "an alias stands for another ref of the same name space";
        let link = alias_link(name, target).ok_or_else(|| Error::invalid(problem))?;
        let path = name.path();
        self.make_room(&path)?;
        let (parent, _) = path.rsplit_once('/').unwrap_or((".", &path));
        let pending = format!("{parent}/{}", sys::temporary_name());
        rustix::fs::symlinkat(link.as_str(), self.dir(), &pending)
            .map_err(failed(&path, "cannot be written"))?;
        if let Err(e) = rustix::fs::renameat(self.dir(), &pending, self.dir(), &path) {
            let _ = sys::remove_file(self.dir(), &pending);
            return Err(failed(&path, "cannot be replaced")(e));
        }
        sys::sync_parent(self.dir(), &path, self.durable())
    }

    /// Makes the directories above a ref, and removes empty ones where it is to be.
    fn make_room(&self, path: &str) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            sys::make_dirs(self.dir(), parent, self.durable())?;
            let stat = sys::stat(self.dir(), parent)?;
            let is_dir = |s: rustix::fs::Stat| FileType::from_raw_mode(s.st_mode).is_dir();
            if !stat.is_some_and(is_dir) {
                let problem = "cannot be made: a part of its name is a ref itself";
                return Err(Error::invalid(problem));
            }
        }
        let stat = sys::stat(self.dir(), path)?;
        if stat.is_some_and(|s| FileType::from_raw_mode(s.st_mode).is_dir()) {
            self.remove_empty_dirs(path)?;
        }
        Ok(())
    }

    /// Removes a directory of which nothing is left but directories.
    fn remove_empty_dirs(&self, path: &str) -> Result<()> {
        let mut dirs = vec![path.to_owned()];
        let mut next = 0;
        while let Some(dir) = dirs.get(next).cloned() {
            next += 1;
            for name in sys::names_in(self.dir(), &dir)? {
                let below = format!("{dir}/{name}");
                let stat = sys::stat(self.dir(), &below)?;
                if stat.is_some_and(|s| FileType::from_raw_mode(s.st_mode).is_dir()) {
                    dirs.push(below);
                } else {
                    return Err(exists_below(&below));
                }
            }
        }
        for dir in dirs.iter().rev() {
            match rustix::fs::unlinkat(self.dir(), dir, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY) => return Err(exists_below(dir)),
                Err(e) => return Err(failed(dir, "cannot be removed")(e)),
            }
        }
        Ok(())
    }
}

fn exists_below(path: &str) -> Error {
    let problem = format!("cannot be made: there are refs whose names begin with it ({path})");
    Error::invalid(problem)
}

fn parse_ref(bytes: &[u8]) -> Option<Checksum> {
    std::str::from_utf8(bytes)
        .ok()?
        .trim_ascii_end()
        .parse()
        .ok()
}

/// Makes the name that a path below a directory of refs stands for.
type NameIn = dyn Fn(Branch) -> RefName;

/// Returns the directories of refs that make up `space`.
fn name_spaces(repo: &FsRepo, space: &RefSpace) -> Result<Vec<(String, Box<NameIn>)>> {
    let local = || {
        (
            "refs/heads".to_owned(),
            Box::new(RefName::Local) as Box<NameIn>,
        )
    };
    let remote = |remote: RemoteName| {
        let path = format!("refs/remotes/{remote}");
        let name = move |branch| RefName::Remote(remote.clone(), branch);
        (path, Box::new(name) as Box<NameIn>)
    };
    let mirror = |collection: CollectionId| {
        let path = format!("refs/mirrors/{collection}");
        let name = move |branch| RefName::Mirror(collection.clone(), branch);
        (path, Box::new(name) as Box<NameIn>)
    };
    // What is not a name is not ours: it is passed over as the C ostree does.
    let remotes = || -> Result<Vec<RemoteName>> {
        let names = sys::names_in(repo.dir(), "refs/remotes")?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    };
    let mirrors = || -> Result<Vec<CollectionId>> {
        let names = sys::names_in(repo.dir(), "refs/mirrors")?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    };
    Ok(match space {
        RefSpace::Local => vec![local()],
        RefSpace::Remote(name) => vec![remote(name.clone())],
        RefSpace::Mirrors => mirrors()?.into_iter().map(mirror).collect(),
        RefSpace::All => {
            let mut all = vec![local()];
            all.extend(remotes()?.into_iter().map(remote));
            all.extend(mirrors()?.into_iter().map(mirror));
            all
        }
    })
}

fn list_below(
    repo: &FsRepo,
    prefix: &str,
    name_in: &NameIn,
    refs: &mut Vec<(RefName, RefValue)>,
) -> Result<()> {
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in sys::names_in(repo.dir(), &format!("{prefix}{dir}"))? {
            let below = format!("{dir}/{entry}");
            let Ok(branch) = below[1..].parse::<Branch>() else {
                continue;
            };
            let path = format!("{prefix}{below}");
            let Some(stat) = sys::stat(repo.dir(), &path)? else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                dirs.push(below);
                continue;
            }
            let name = name_in(branch);
            if let Some(value) = repo.read_own_ref(&name)? {
                refs.push((name, value));
            }
        }
    }
    Ok(())
}

/// Returns the ref that a symbolic link in the place of `name` points to.
fn resolve_alias(name: &RefName, target: &str) -> Option<RefName> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = name.branch().as_str().split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let branch = parts.join("/").parse().ok()?;
    Some(same_space(name, branch))
}

fn same_space(name: &RefName, branch: Branch) -> RefName {
    match name {
        RefName::Local(_) => RefName::Local(branch),
        RefName::Remote(remote, _) => RefName::Remote(remote.clone(), branch),
        RefName::Mirror(collection, _) => RefName::Mirror(collection.clone(), branch),
    }
}

/// Returns the symbolic link that makes `name` an alias of `target`.
fn alias_link(name: &RefName, target: &RefName) -> Option<String> {
    if same_space(name, target.branch().clone()) != *target || name == target {
        return None;
    }
    let ups = name.branch().as_str().matches('/').count();
    Some(format!("{}{}", "../".repeat(ups), target.branch()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str) -> RefName {
        RefName::Local(name.parse().expect("a valid name"))
    }

    #[test]
    fn aliases_are_written_as_ostree_writes_them() {
        let link = alias_link(&local("foo/alias"), &local("foo/bar/baz"));
        assert_eq!(link.as_deref(), Some("../foo/bar/baz"));
        assert_eq!(alias_link(&local("a"), &local("b")).as_deref(), Some("b"));
        let remote = RefName::Remote("r".parse().expect("valid"), "b".parse().expect("valid"));
        assert_eq!(alias_link(&local("a"), &remote), None);
    }

    #[test]
    fn an_alias_cannot_lead_out_of_its_name_space() {
        assert_eq!(resolve_alias(&local("a/b"), "../c/d"), Some(local("c/d")));
        assert_eq!(resolve_alias(&local("a/b"), "c"), Some(local("a/c")));
        assert_eq!(resolve_alias(&local("a/b"), "../../remotes/x/y"), None);
        assert_eq!(resolve_alias(&local("a"), "/etc/passwd"), None);
    }
}
