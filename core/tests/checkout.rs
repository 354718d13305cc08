//! Checkout from a store that is no files, and trees that mean harm.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use support::{Pile, header};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{Checksum, FileHeader, ObjectName, ObjectType};
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutMode, CheckoutOptions, CheckoutReport, Destination, IfMissing, Labels,
    Overwrite, Sharing, SkipList, TreeSync, Whiteouts, checkout, checkout_all, checkout_tree,
};
use treeferry_core::ops::diff::{DiffOptions, DiffSide, diff, diff_stats};
use treeferry_core::ops::list::{ListOptions, cat, list};
use treeferry_core::repo::{Repo, TreeLimits, TreeRoot, measure_tree};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    MemoryStore, ObjectSource, ObjectStore, ResumableSource, Scratch, Stat,
};

/// A store that holds what it was given, right or wrong.
#[derive(Debug, Default)]
struct PileStore(Pile);

#[async_trait]
impl ObjectSource for PileStore {
    fn encoding(&self) -> Encoding {
        self.0.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.0.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        self.0.fetch(name).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[async_trait]
impl ObjectStore for PileStore {
    async fn begin(&self, _options: BatchOptions) -> Result<Box<dyn Batch>> {
        Err(Error::unsupported("a pile is read only"))
    }

    fn list(&self, _object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        stream::empty().boxed()
    }

    async fn delete(&self, _lock: &LockGuard, _: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        Err(Error::unsupported("a pile is read only"))
    }

    async fn lock(&self, _kind: LockKind) -> Result<LockGuard> {
        Err(Error::unsupported("a pile has no lock"))
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        None
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        None
    }
}

struct Place {
    dir: tempfile::TempDir,
    store: Arc<PileStore>,
    repo: Repo,
}

fn place() -> Place {
    let store = Arc::new(PileStore::default());
    let rest = Arc::new(MemoryStore::default());
    Place {
        dir: tempfile::tempdir().unwrap(),
        repo: Repo::from_parts(store.clone(), rest.clone(), rest),
        store,
    }
}

impl Place {
    fn pile(&self) -> &Pile {
        &self.store.0
    }

    fn out(&self) -> std::path::PathBuf {
        self.dir.path().join("out")
    }

    fn root(&self, tree: Checksum) -> TreeRoot {
        let meta = self.pile().meta(0o755);
        TreeRoot { tree, meta }
    }

    async fn tree(&self, tree: Checksum, options: &CheckoutOptions) -> Result<CheckoutReport> {
        let to = Destination::path(self.out());
        checkout_tree(&self.repo, self.root(tree), &to, options).await
    }
}

fn user() -> CheckoutOptions {
    let mut options = CheckoutOptions::default();
    options.mode = CheckoutMode::User;
    options
}

fn union() -> CheckoutOptions {
    let mut options = user();
    options.overwrite = Overwrite::UnionFiles;
    options
}

fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().symlink_metadata().unwrap().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns everything that an error and its causes say.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told += &format!(": {error}");
        cause = error.source();
    }
    told
}

fn sent<T: Send>(future: T) -> T {
    future
}

#[test]
fn what_is_done_to_trees_can_be_spawned() {
    let place = place();
    let (repo, root) = (&place.repo, place.root(Checksum::of(b"")));
    let to = Destination::path(place.out());
    let item = CheckoutItem::commit(root.tree);
    let side = DiffSide::Tree(root);
    drop(sent(checkout(repo, &item, &to, &user())));
    drop(sent(checkout_all(
        repo,
        std::slice::from_ref(&item),
        &to,
        &user(),
    )));
    drop(sent(checkout_tree(repo, root, &to, &user())));
    drop(sent(list(repo, root, "/", ListOptions::default())));
    drop(sent(cat(repo, root, "/")));
    drop(sent(diff(repo, &side, &side, DiffOptions::default())));
    drop(sent(diff_stats(repo, &root.tree, &root.tree)));
}

#[tokio::test]
async fn a_commit_is_checked_out() {
    let place = place();
    let commit = place.pile().small_commit("x", None);
    let to = Destination::path(place.out());
    let report = checkout(&place.repo, &CheckoutItem::commit(commit), &to, &user())
        .await
        .unwrap();
    assert_eq!((report.dirs, report.files_copied), (3, 3));
    assert_eq!(report.copied_bytes, 3 + 1 + 3000);
    let out = place.out();
    assert_eq!(fs::read(out.join("a")).unwrap(), b"a x");
    assert_eq!(fs::read(out.join("dir/sub/c")).unwrap().len(), 3000);
    assert_eq!(mode(out.join("dir/b")), 0o755);
    assert_eq!(mode(out.join("dir/sub/c")), 0o600);
    for dir in ["", "dir", "dir/sub"] {
        let stat = out.join(dir).metadata().unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o755, 0), "{dir}");
    }
}

#[tokio::test]
async fn a_tree_of_many_groups_arrives_whole() {
    let place = place();
    let meta = place.pile().meta(0o700);
    let mut dirs = Vec::new();
    for d in 0..20 {
        let files: Vec<_> = (0..d * 10)
            .map(|f| {
                let content = format!("{d} {f}");
                (
                    format!("f{f}"),
                    place.pile().file(&header(0o644), content.as_bytes()),
                )
            })
            .collect();
        let files: Vec<_> = files.iter().map(|(n, f)| (n.as_str(), *f)).collect();
        dirs.push((format!("d{d}"), place.pile().tree(&files, &[]), meta));
    }
    let dirs: Vec<_> = dirs.iter().map(|(n, t, m)| (n.as_str(), *t, *m)).collect();
    let tree = place.pile().tree(&[], &dirs);
    let mut options = user();
    options.sync = TreeSync::PerFile;
    let report = place.tree(tree, &options).await.unwrap();
    assert_eq!(report.files_copied, (0..20).map(|d| d * 10).sum::<u64>());
    for d in 0..20 {
        let dir = place.out().join(format!("d{d}"));
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(dir.metadata().unwrap().mtime(), 0);
        for f in 0..d * 10 {
            let content = fs::read_to_string(dir.join(format!("f{f}"))).unwrap();
            assert_eq!(content, format!("{d} {f}"));
        }
    }
}

#[tokio::test]
async fn a_missing_subpath_is_an_error_unless_it_may_be_missing() {
    let place = place();
    let commit = place.pile().small_commit("x", None);
    let to = Destination::path(place.out());
    let mut item = CheckoutItem::subpath(commit, "dir/nothing");
    let error = checkout(&place.repo, &item, &to, &user())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(told(&error).contains("dir/nothing"), "{}", told(&error));
    item.if_missing = IfMissing::Ignore;
    let report = checkout(&place.repo, &item, &to, &user()).await.unwrap();
    assert_eq!(report, CheckoutReport::default());
    assert!(!place.out().exists());
}

#[tokio::test]
async fn content_that_does_not_hash_leaves_no_file() {
    for overwrite in [Overwrite::Refuse, Overwrite::UnionFiles] {
        let place = place();
        let good = place.pile().file(&header(0o644), b"right");
        let tree = place.pile().tree(&[("file", good)], &[]);
        let mut bytes = header(0o644).to_canonical();
        bytes.extend_from_slice(b"wrong");
        place.pile().plant(ObjectName::file(good), bytes);
        let mut options = user();
        options.overwrite = overwrite;
        if overwrite == Overwrite::UnionFiles {
            fs::create_dir(place.out()).unwrap();
            fs::write(place.out().join("file"), "before").unwrap();
        }
        let error = place.tree(tree, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let told = told(&error);
        assert!(
            told.contains("/file") && told.contains(&good.to_string()),
            "{told}"
        );
        match overwrite {
            Overwrite::Refuse => assert_eq!(names(&place.out()), [""; 0]),
            _ => {
                assert_eq!(names(&place.out()), ["file"]);
                assert_eq!(fs::read(place.out().join("file")).unwrap(), b"before");
            }
        }
    }
}

#[tokio::test]
async fn a_symbolic_link_that_does_not_hash_is_not_made() {
    let place = place();
    let mut link = header(0o777);
    link.mode = 0o120_777;
    link.symlink_target = "right".into();
    let checksum = place.pile().file(&link, b"");
    link.symlink_target = "wrong".into();
    place
        .pile()
        .plant(ObjectName::file(checksum), link.to_canonical());
    let tree = place.pile().tree(&[("link", checksum)], &[]);
    let error = place.tree(tree, &user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(names(&place.out()), [""; 0]);
}

#[tokio::test]
async fn a_planted_link_to_a_directory_is_not_followed() {
    let place = place();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(place.out()).unwrap();
    symlink(&outside, place.out().join("dir")).unwrap();
    let file = place.pile().file(&header(0o644), b"x");
    let dir = place.pile().tree(&[("file", file)], &[]);
    let meta = place.pile().meta(0o777);
    let tree = place.pile().tree(&[], &[("dir", dir, meta)]);
    for overwrite in [
        Overwrite::UnionFiles,
        Overwrite::AddFiles,
        Overwrite::UnionIdentical,
    ] {
        let mut options = user();
        options.overwrite = overwrite;
        let error = place.tree(tree, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(told(&error).contains("/dir"), "{}", told(&error));
        assert_eq!(names(&outside), [""; 0]);
    }
}

#[tokio::test]
async fn a_planted_link_in_the_place_of_a_file_is_replaced_not_followed() {
    let place = place();
    let outside = place.dir.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    fs::set_permissions(&outside, PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir(place.out()).unwrap();
    symlink(&outside, place.out().join("file")).unwrap();
    let file = place.pile().file(&header(0o666), b"new");
    let tree = place.pile().tree(&[("file", file)], &[]);
    place.tree(tree, &union()).await.unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert_eq!(mode(&outside), 0o600);
    let placed = place.out().join("file");
    assert!(placed.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(placed).unwrap(), b"new");
    assert_eq!(names(&place.out()), ["file"]);
}

#[tokio::test]
async fn a_whiteout_removes_a_link_and_not_what_it_leads_to() {
    let place = place();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "p").unwrap();
    fs::create_dir_all(place.out().join("deep/er")).unwrap();
    symlink(&outside, place.out().join("link")).unwrap();
    symlink(&outside, place.out().join("deep/er/link")).unwrap();
    let whiteout = place.pile().file(&header(0o644), b"");
    let tree = place
        .pile()
        .tree(&[(".wh.deep", whiteout), (".wh.link", whiteout)], &[]);
    let mut options = union();
    options.whiteouts = Whiteouts::Process;
    place.tree(tree, &options).await.unwrap();
    assert_eq!(names(&place.out()), [""; 0]);
    assert_eq!(names(&outside), ["precious"]);
}

#[tokio::test]
async fn a_whiteout_that_would_lead_out_is_refused() {
    for name in [".wh.", ".wh..", ".wh..."] {
        let place = place();
        fs::create_dir(place.out()).unwrap();
        fs::write(place.dir.path().join("beside"), "b").unwrap();
        let whiteout = place.pile().file(&header(0o644), b"");
        let tree = place.pile().tree(&[(name, whiteout)], &[]);
        let mut options = union();
        options.whiteouts = Whiteouts::Process;
        let error = place.tree(tree, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}");
        assert!(place.dir.path().join("beside").exists());
    }
}

#[tokio::test]
async fn an_opaque_root_empties_the_destination_but_only_in_a_union() {
    let place = place();
    let marker = place.pile().file(&header(0o644), b"");
    let new = place.pile().file(&header(0o644), b"new");
    let tree = place
        .pile()
        .tree(&[(".wh..wh..opq", marker), ("new", new)], &[]);
    fs::create_dir_all(place.out().join("old/older")).unwrap();
    let mut options = user();
    options.whiteouts = Whiteouts::Process;
    place.tree(tree, &options).await.unwrap_err();
    assert_eq!(names(&place.out()), ["old"]);
    options.overwrite = Overwrite::UnionFiles;
    place.tree(tree, &options).await.unwrap();
    assert_eq!(names(&place.out()), ["new"]);
    assert_eq!(mode(place.out()), 0o755);
}

/// Returns the dirtrees of a chain, the innermost first.
fn chain(place: &Place, length: usize) -> Vec<Checksum> {
    let meta = place.pile().meta(0o755);
    let mut trees = vec![place.pile().tree(&[], &[])];
    while trees.len() < length {
        trees.push(
            place
                .pile()
                .tree(&[], &[("d", trees[trees.len() - 1], meta)]),
        );
    }
    trees
}

#[tokio::test]
async fn the_deepest_tree_allowed_is_checked_out() {
    let place = place();
    let trees = chain(&place, 256);
    let report = place.tree(trees[255], &user()).await.unwrap();
    assert_eq!(report.dirs, 256);
}

#[tokio::test]
async fn a_tree_too_deep_is_refused_by_name_before_anything_is_written() {
    for length in [257, 100_000] {
        let place = place();
        let trees = chain(&place, length);
        let error = place.tree(trees[length - 1], &user()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        // The first one that is too deep.
        let culprit = ObjectName::dirtree(trees[length - 257]);
        assert!(
            told(&error).contains(&culprit.to_string()),
            "{}",
            told(&error)
        );
        assert!(!place.out().exists());
    }
}

#[tokio::test]
async fn a_tree_too_deep_only_by_its_longest_way_is_refused() {
    let place = place();
    let trees = chain(&place, 257);
    let meta = place.pile().meta(0o755);
    // Its depths are short where they are first met: only the longest way is too long.
    let dirs: Vec<_> = (0..200).map(|n| (format!("n{n:03}"), trees[n])).collect();
    let dirs: Vec<_> = dirs.iter().map(|(n, t)| (n.as_str(), *t, meta)).collect();
    let mut all = dirs.clone();
    all.push(("z", trees[255], meta));
    let root = place.pile().tree(&[], &all);
    let error = place.tree(root, &user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let fine = place.pile().tree(&[], &dirs);
    let measure = measure_tree(&place.repo, &fine, TreeLimits::default())
        .await
        .unwrap();
    assert_eq!(measure.depth, 201);
    assert_eq!(measure.dirtrees, 201);
    assert_eq!(measure.entries, (1..=200).sum::<u64>());
}

#[tokio::test]
async fn two_to_the_64_paths_in_65_objects_are_refused_by_name() {
    let place = place();
    let meta = place.pile().meta(0o755);
    let mut trees = vec![place.pile().tree(&[], &[])];
    for n in 0..64 {
        let below = trees[n];
        trees.push(
            place
                .pile()
                .tree(&[], &[("a", below, meta), ("b", below, meta)]),
        );
    }
    let error = place.tree(trees[64], &user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // 2^31 - 2 entries are below the 30th, the next has twice as many and two.
    assert!(
        told(&error).contains(&trees[31].to_string()),
        "{}",
        told(&error)
    );
    assert!(!place.out().exists());
    let measure = measure_tree(&place.repo, &trees[30], TreeLimits::default())
        .await
        .unwrap();
    assert_eq!(measure.entries, (1 << 31) - 2);
}

#[tokio::test]
async fn a_partial_commit_fails_only_where_the_gap_is_reached() {
    let place = place();
    let meta = place.pile().meta(0o755);
    let file = place.pile().file(&header(0o644), b"x");
    let gap = place.pile().tree(&[("file", file)], &[]);
    let tree = place.pile().tree(&[("file", file)], &[("gap", gap, meta)]);
    place.pile().remove(ObjectName::dirtree(gap));
    let error = place.tree(tree, &user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(told(&error).contains(&gap.to_string()), "{}", told(&error));
    fs::remove_dir_all(place.out()).unwrap();
    let mut options = user();
    options.skip = SkipList::new(["/gap/".to_owned()]);
    place.tree(tree, &options).await.unwrap();
    assert_eq!(names(&place.out()), ["file"]);
}

#[tokio::test]
async fn what_was_checked_out_in_user_mode_is_identical_to_itself() {
    let place = place();
    let mut link = header(0o777);
    link.mode = 0o120_777;
    link.symlink_target = "file".into();
    let mut owned = header(0o4000);
    owned.uid = 77;
    let files = [
        ("empty", place.pile().file(&header(0o644), b"")),
        ("file", place.pile().file(&header(0o644), b"file")),
        ("link", place.pile().file(&link, b"")),
        ("unreadable", place.pile().file(&owned, b"u")),
    ];
    let tree = place.pile().tree(&files, &[]);
    place.tree(tree, &user()).await.unwrap();
    assert_eq!(mode(place.out().join("unreadable")), 0o400);
    let mut options = user();
    options.overwrite = Overwrite::UnionIdentical;
    let report = place.tree(tree, &options).await.unwrap();
    assert_eq!(report.files_kept, 4);
    fs::write(place.out().join("file"), "life").unwrap();
    let error = place.tree(tree, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(fs::read(place.out().join("file")).unwrap(), b"life");
}

#[tokio::test]
async fn required_hard_links_that_cannot_be_are_refused_before_anything_is_written() {
    let place = place();
    let tree = place.pile().tree(&[], &[]);
    let mut options = user();
    options.sharing = Sharing::LinksOnly;
    let error = place.tree(tree, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(!place.out().exists());
}

#[tokio::test]
async fn an_owner_that_no_file_can_have_is_refused() {
    let place = place();
    let nobody = FileHeader {
        uid: u32::MAX,
        ..header(0o644)
    };
    let file = place.pile().file(&nobody, b"x");
    let tree = place.pile().tree(&[("file", file)], &[]);
    let error = place
        .tree(tree, &CheckoutOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(names(&place.out()), [""; 0]);
}

#[derive(Debug)]
struct Refusing;

impl Labels for Refusing {
    fn label(&self, path: &str, _mode: u32) -> Result<Option<Vec<u8>>> {
        match path {
            "/dir/file" => Err(Error::invalid("no label for this one")),
            _ => Ok(None),
        }
    }
}

#[tokio::test]
async fn labels_are_asked_for_by_path() {
    let place = place();
    let meta = place.pile().meta(0o755);
    let mut link = header(0o120_777);
    link.symlink_target = "x".into();
    let link = place.pile().file(&link, b"");
    let dir = place.pile().tree(&[("file", link), ("other", link)], &[]);
    let tree = place.pile().tree(&[("file", link)], &[("dir", dir, meta)]);
    let mut options = user();
    options.labels = Some(Arc::new(Refusing));
    let error = place.tree(tree, &options).await.unwrap_err();
    assert!(told(&error).contains("no label for this one"));
    assert!(!place.out().join("dir/file").exists());
}

#[tokio::test]
async fn a_destination_can_be_relative_to_a_directory() {
    let place = place();
    let commit = place.pile().small_commit("x", None);
    let dir = fs::File::open(place.dir.path()).unwrap();
    let to = Destination::at(Arc::new(dir.into()), "out");
    checkout(
        &place.repo,
        &CheckoutItem::subpath(commit, "/dir"),
        &to,
        &user(),
    )
    .await
    .unwrap();
    assert_eq!(names(&place.out()), ["b", "sub"]);
}
