//! What a delta has to bring, and which old file each new one may be made from.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::{Checksum, DirTree, ObjectName, TREE_DEPTH_MAX};
use crate::repo::{Repo, load_many};

/// What one commit has and another has not.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Dirmetas and dirtrees, in the order in which they were met.
    pub(super) metadata: Vec<ObjectName>,
    /// Files, sorted so that like ones stand together.
    pub(super) files: Vec<NewFile>,
}

/// A new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewFile {
    pub(super) checksum: Checksum,
    /// Old files that it may be made from, best first.
    pub(super) old: Vec<Checksum>,
}

/// What a tree consists of. Each directory object is visited once, by the first path to it.
#[derive(Debug, Default)]
struct Tree {
    metadata: Vec<ObjectName>,
    seen: HashSet<ObjectName>,
    files: Vec<(String, Checksum)>,
    seen_files: HashSet<Checksum>,
}

/// Finds out what `to` needs beyond `from`.
pub(super) async fn wanted(repo: &Repo, from: Option<&Checksum>, to: &Checksum) -> Result<Wanted> {
    let before = match from {
        Some(from) => walk(repo, from).await?,
        None => Tree::default(),
    };
    let after = walk(repo, to).await?;
    let old = OldFiles::new(&before);
    let mut files: Vec<(String, NewFile)> = Vec::new();
    for (path, checksum) in after.files {
        if !before.seen_files.contains(&checksum) {
            let old = old.candidates(&path);
            files.push((path, NewFile { checksum, old }));
        }
    }
    files.sort_by_cached_key(|(path, _)| order_key(path));
    let metadata = after.metadata.into_iter();
    Ok(Wanted {
        metadata: metadata
            .filter(|name| !before.seen.contains(name))
            .collect(),
        files: files.into_iter().map(|(_, file)| file).collect(),
    })
}

/// Sorts by what the name ends in, then by the name, then by where it is.
fn order_key(path: &str) -> (String, String, String) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = match extension.bytes().all(|b| b.is_ascii_digit()) {
        // A version: of a library most often.
        true if name.contains(".so.") => "so",
        true => "",
        false => extension,
    };
    (extension.to_owned(), without_digits(name), path.to_owned())
}

async fn walk(repo: &Repo, commit: &Checksum) -> Result<Tree> {
    let loaded = repo.load_commit(commit).await?;
    let mut tree = Tree::default();
    tree.meet(ObjectName::dirmeta(loaded.meta));
    tree.meet(ObjectName::dirtree(loaded.tree));
    let mut level = vec![(String::new(), loaded.tree)];
    for _ in 0..TREE_DEPTH_MAX {
        if level.is_empty() {
            return Ok(tree);
        }
        let paths: HashMap<_, _> = level.drain(..).map(|(path, tree)| (tree, path)).collect();
        let names = paths
            .keys()
            .map(|tree| ObjectName::dirtree(*tree))
            .collect();
        let mut found = load_many(repo, names, DirTree::parse).await?;
        // Whoever answers first must not decide what the delta looks like.
        found.sort_by_key(|(name, _)| paths.get(&name.checksum).cloned());
        for (name, dirtree) in found {
            let missing = || Error::missing("is not in the repository").about(name);
            let dirtree = dirtree?.ok_or_else(missing)?;
            let path = &paths[&name.checksum];
            tree.read(path, &dirtree, &mut level);
        }
    }
    Err(Error::corrupt("directories are nested too deep").about(ObjectName::commit(*commit)))
}

impl Tree {
    fn meet(&mut self, name: ObjectName) -> bool {
        let new = self.seen.insert(name);
        if new {
            self.metadata.push(name);
        }
        new
    }

    fn read(&mut self, path: &str, dirtree: &DirTree, next: &mut Vec<(String, Checksum)>) {
        for file in dirtree.files() {
            if self.seen_files.insert(file.file) {
                self.files
                    .push((format!("{path}/{}", file.name), file.file));
            }
        }
        for dir in dirtree.dirs() {
            self.meet(ObjectName::dirmeta(dir.meta));
            if self.meet(ObjectName::dirtree(dir.tree)) {
                next.push((format!("{path}/{}", dir.name), dir.tree));
            }
        }
    }
}

/// Old files by what a new one might be called.
struct OldFiles {
    paths: HashMap<String, Checksum>,
    /// By path without digits: other versions of the same.
    alike: HashMap<String, Vec<Checksum>>,
    /// By name without digits, with the path.
    named: HashMap<String, Vec<(String, Checksum)>>,
}

/// How many old files are tried for one new file.
const CANDIDATES_MAX: usize = 2;

impl OldFiles {
    fn new(tree: &Tree) -> Self {
        let mut this = Self {
            paths: HashMap::new(),
            alike: HashMap::new(),
            named: HashMap::new(),
        };
        for (path, checksum) in &tree.files {
            this.paths.insert(path.clone(), *checksum);
            let alike = this.alike.entry(without_digits(path)).or_default();
            alike.push(*checksum);
            let name = path.rsplit('/').next().unwrap_or(path);
            let named = this.named.entry(without_digits(name)).or_default();
            named.push((path.clone(), *checksum));
        }
        this
    }

    fn candidates(&self, path: &str) -> Vec<Checksum> {
        let mut found: Vec<Checksum> = Vec::new();
        let mut add = |checksum: &Checksum| {
            if found.len() < CANDIDATES_MAX && !found.contains(checksum) {
                found.push(*checksum);
            }
        };
        if let Some(same) = self.paths.get(path) {
            // What was there is as good as it gets.
            return vec![*same];
        }
        if let Some(alike) = self.alike.get(&without_digits(path)) {
            alike.iter().for_each(&mut add);
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if let Some(named) = self.named.get(&without_digits(name)) {
            let shared = |other: &str| {
                let pairs = path.bytes().zip(other.bytes());
                pairs.take_while(|(a, b)| a == b).count()
            };
            let nearest = named.iter().max_by_key(|(other, _)| shared(other));
            nearest.iter().for_each(|(_, checksum)| add(checksum));
        }
        found
    }
}

/// Returns `text` with each run of digits as one `0`.
fn without_digits(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_ascii_digit() {
            true if plain.ends_with('0') => {}
            true => plain.push('0'),
            false => plain.push(letter),
        }
    }
    plain
}
