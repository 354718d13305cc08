//! Where on a stick repositories are.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};

/// The repository of a stick, below where it is mounted.
pub const REPO_PATH: &str = ".ostree/repo";

/// Other places where one is looked for, as OSTree does.
pub const OTHER_REPO_PATHS: [&str; 2] = ["ostree/repo", "var/lib/flatpak/repo"];

/// Where its other repositories are, or links to them.
pub const REPOS_DIR: &str = ".ostree/repos.d";

/// How many entries of `repos.d` are looked at.
const REPOS_MAX: usize = 256;

/// A mounted stick, or any directory that is laid out like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stick {
    root: PathBuf,
}

/// A directory on a stick that may be a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickRepo {
    /// Where it is, all links resolved: on the stick.
    pub path: PathBuf,
    /// By which name below the stick it was found.
    pub found_as: PathBuf,
}

impl Stick {
    /// Names the stick that is mounted at `root`, or laid out there. **Blocking.**
    pub fn open(root: &Path) -> Result<Self> {
        let found = root.canonicalize();
        let found = found.map_err(|e| Error::io("cannot be found", e).about(root))?;
        if !found.is_dir() {
            return Err(Error::invalid("is not a directory").about(root));
        }
        Ok(Self { root: found })
    }

    /// Returns where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns its repositories in the order in which they are to be tried: those of `repos.d` by
    /// name, then the one at `repo`, then those at [`OTHER_REPO_PATHS`]. **Blocking.**
    ///
    /// What leads out of the stick, and what is no directory, is left out.
    pub fn repos(&self) -> Vec<StickRepo> {
        let mut found: Vec<StickRepo> = Vec::new();
        let mut names = self.names_of_others();
        names.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        names.truncate(REPOS_MAX);
        let others = names
            .into_iter()
            .map(|name| Path::new(REPOS_DIR).join(name));
        let known = [REPO_PATH].into_iter().chain(OTHER_REPO_PATHS);
        for name in others.chain(known.map(PathBuf::from)) {
            match self.inside(&name) {
                // One that has several names is tried once.
                Ok(Some(path)) if found.iter().all(|other| other.path != path) => {
                    found.push(StickRepo {
                        path,
                        found_as: name,
                    });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "left out"),
            }
        }
        found
    }

    /// Returns where `name` leads: `None` where there is no directory, an error where it leads out.
    /// **Blocking.**
    pub fn inside(&self, name: &Path) -> Result<Option<PathBuf>> {
        let Ok(path) = self.root.join(name).canonicalize() else {
            return Ok(None);
        };
        if !path.starts_with(&self.root) || path == self.root {
            let problem = "leads out of the stick: refused";
            return Err(Error::corrupt(problem).about(self.root.join(name)));
        }
        if same_device(&path, &self.root) {
            return Ok(path.is_dir().then_some(path));
        }
        let problem = "is on another filesystem than the stick: refused";
        Err(Error::corrupt(problem).about(self.root.join(name)))
    }

    /// Notes in `repos.d` that there is a repository at `place` below the stick, as OSTree does: by
    /// a symbolic link. **Blocking.**
    ///
    /// # Errors
    ///
    /// [`Unsupported`](treeferry_core::ErrorKind::Unsupported) where the filesystem has no symbolic
    /// links.
    pub fn note_repo(&self, place: &Path) -> Result<()> {
        let dir = self.root.join(REPOS_DIR);
        let about = |problem, e| Error::io(problem, e).about(&*dir);
        std::fs::create_dir_all(&dir).map_err(|e| about("cannot be made", e))?;
        if self.inside(Path::new(REPOS_DIR))?.is_none() {
            return Err(Error::corrupt("is not a directory").about(&*dir));
        }
        let target = self.root.join(place).canonicalize();
        let target = target.map_err(|e| about("cannot be found", e))?;
        let known = self.repos();
        let noted = |repo: &StickRepo| repo.path == target && repo.found_as.starts_with(REPOS_DIR);
        if known.iter().any(noted) {
            return Ok(());
        }
        for number in 0..100 {
            let link = dir.join(format!("{number:02}-generated"));
            let to = Path::new("../..").join(place);
            match std::os::unix::fs::symlink(to, &link) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    let problem = "cannot be made: a repository elsewhere than at .ostree/repo \
                                   takes a filesystem with symbolic links";
                    return Err(Error::unsupported(problem).because(e).about(link));
                }
            }
        }
        Err(Error::invalid("all names from 00 to 99 are taken").about(&*dir))
    }

    fn names_of_others(&self) -> Vec<PathBuf> {
        // A link in place of the directory itself must not lead out either.
        let Ok(Some(dir)) = self.inside(Path::new(REPOS_DIR)) else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        let names = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
        names.take(REPOS_MAX * 4).collect()
    }
}

fn same_device(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.dev() == b.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn repositories_are_found_in_order_and_only_on_the_stick() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: &str| dir.path().join(path);
        for path in [".ostree/repo", ".ostree/repos.d/50-plain", "elsewhere/repo"] {
            create_dir_all(at(path)).unwrap();
        }
        symlink("../../elsewhere/repo", at(".ostree/repos.d/10-link")).unwrap();
        symlink("../repo", at(".ostree/repos.d/90-again")).unwrap();
        symlink(outside.path(), at(".ostree/repos.d/00-out")).unwrap();
        symlink("/proc/self", at(".ostree/repos.d/01-proc")).unwrap();
        symlink("../..", at(".ostree/repos.d/02-all-of-it")).unwrap();
        symlink("03-ring", at(".ostree/repos.d/03-ring")).unwrap();
        std::fs::write(at(".ostree/repos.d/04-file"), "x").unwrap();
        let stick = Stick::open(dir.path()).unwrap();
        let found = stick.repos().into_iter().map(|repo| repo.path);
        let expected = ["elsewhere/repo", ".ostree/repos.d/50-plain", ".ostree/repo"];
        let root = dir.path().canonicalize().unwrap();
        assert!(found.eq(expected.iter().map(|path| root.join(path))));
    }

    #[test]
    fn a_stick_whose_own_directory_leads_out_has_nothing() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        create_dir_all(outside.path().join("repo")).unwrap();
        create_dir_all(outside.path().join("repos.d/a")).unwrap();
        symlink(outside.path(), dir.path().join(".ostree")).unwrap();
        let stick = Stick::open(dir.path()).unwrap();
        assert_eq!(stick.repos(), []);
        assert!(stick.inside(Path::new(REPO_PATH)).is_err());
    }

    #[test]
    fn a_repository_elsewhere_is_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        create_dir_all(dir.path().join("other/repo")).unwrap();
        let stick = Stick::open(dir.path()).unwrap();
        for _ in 0..2 {
            stick.note_repo(Path::new("other/repo")).unwrap();
        }
        let link = dir.path().join(".ostree/repos.d/00-generated");
        let to = std::fs::read_link(link).unwrap();
        assert_eq!(to, Path::new("../../other/repo"));
        assert_eq!(stick.repos().len(), 1);
        let entries = std::fs::read_dir(dir.path().join(REPOS_DIR)).unwrap();
        assert_eq!(entries.count(), 1);
    }
}
