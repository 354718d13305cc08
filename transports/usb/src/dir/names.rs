//! Names on filesystems that do not tell capital letters from small ones, or refuse characters.

use rustix::io::Errno;
use treeferry_core::error::{Error, Result};

use super::root::{Root, names, split, stat_at};

/// Names below here are made of hashes, and never differ only in case.
pub(super) const HASHED: &str = "objects/";

/// What a name is on a filesystem that may take it for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    /// There is such a name, or nothing like it.
    Exact,
    /// There is one that differs in case alone.
    Other(String),
}

/// Finds out whether the filesystem takes `A` for `a`: by a name that is there, if there is one.
pub(super) fn ignores_case(root: &Root) -> std::result::Result<Option<bool>, Errno> {
    let dir = root.open_dir("")?;
    let names = names(&dir)?;
    for name in &names {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let swapped: String = name.chars().map(swap_case).collect();
        if swapped == name || names.iter().any(|other| other == swapped.as_bytes()) {
            continue;
        }
        let other = stat_at(rustix::fd::AsFd::as_fd(&dir), &swapped)?;
        return Ok(Some(other.is_some()));
    }
    Ok(None)
}

fn swap_case(c: char) -> char {
    match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    }
}

/// Looks whether each part of a path is spelled as it is there, on a filesystem that ignores case.
pub(super) fn spelling(root: &Root, path: &str) -> std::result::Result<Spelling, Errno> {
    if path.starts_with(HASHED) {
        return Ok(Spelling::Exact);
    }
    let (above, name) = split(path);
    // To read all of a directory for each file in it takes long: what is not there needs none.
    let is_there = match root.open_dir(above) {
        Ok(dir) => stat_at(rustix::fd::AsFd::as_fd(&dir), name)?.is_some(),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Spelling::Exact),
        Err(e) => return Err(e),
    };
    listed_spelling(root, if is_there { path } else { above })
}

fn listed_spelling(root: &Root, path: &str) -> std::result::Result<Spelling, Errno> {
    if path.is_empty() {
        return Ok(Spelling::Exact);
    }
    let mut above = String::new();
    for part in path.split('/') {
        let dir = match root.open_dir(&above) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Spelling::Exact),
            Err(e) => return Err(e),
        };
        let names = names(&dir)?;
        if !names.iter().any(|name| name == part.as_bytes()) {
            let folded = part.to_lowercase();
            let same = |name: &Vec<u8>| {
                let name = std::str::from_utf8(name).ok()?;
                (name.to_lowercase() == folded).then(|| name.to_owned())
            };
            return Ok(match names.iter().find_map(same) {
                Some(other) => Spelling::Other(other),
                None => Spelling::Exact,
            });
        }
        if !above.is_empty() {
            above.push('/');
        }
        above.push_str(part);
    }
    Ok(Spelling::Exact)
}

/// Refuses a path that FAT and exFAT cannot hold, or would hold under another name.
pub(super) fn check_fat(path: &str) -> Result<()> {
    for part in path.split('/') {
        let refused = |c: char| c < ' ' || "\"*:<>?\\|".contains(c);
        if let Some(c) = part.chars().find(|c| refused(*c)) {
            let problem = format!("the name '{part}' cannot be on this filesystem: it has a {c:?}");
            return Err(Error::invalid(problem));
        }
        if part.ends_with(['.', ' ']) {
            let problem = format!(
                "the name '{part}' cannot be on this filesystem, which leaves out a dot or blank \
                 at the end"
            );
            return Err(Error::invalid(problem));
        }
    }
    Ok(())
}

/// Says of a write that it would change a file of another name.
pub(super) fn taken_for(path: &str, other: &str) -> Error {
    let (_, name) = split(path);
    Error::invalid(format!(
        "'{name}' differs only in case from '{other}', which is there: this filesystem takes them \
         for the same name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_cannot_hold_are_told_by_what_is_wrong() {
        for good in [
            "refs/heads/os/stable",
            ".treeferry/x",
            "a b",
            "objects/ab/cd.filez",
        ] {
            assert!(check_fat(good).is_ok(), "{good}");
        }
        for (bad, word) in [
            ("a:b", ":"),
            ("x/a?", "?"),
            ("a./b", "dot"),
            ("a ", "blank"),
        ] {
            let error = check_fat(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_spelling_that_differs_in_case_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("refs/heads/Os")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let of = |path| listed_spelling(&root, path).unwrap();
        assert_eq!(of("refs/heads/Os"), Spelling::Exact);
        assert_eq!(of("refs/heads/other"), Spelling::Exact);
        assert_eq!(of("refs/heads/os"), Spelling::Other("Os".into()));
        assert_eq!(of("Refs/heads"), Spelling::Other("refs".into()));
        assert_eq!(of("no/such/path"), Spelling::Exact);
        // The machine that runs this tells them apart.
        assert_eq!(ignores_case(&root).unwrap(), Some(false));
    }
}
