//! Pushes to a bucket of a real server, and what a plain `ostree` pulls from it over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use support::proxy::{Fate, Proxy};
use support::{fresh_address, open_archive, options, ostree, rclone, seaweed};
use treeferry_backend_fs::{FsRepo, OpenOptions};
use treeferry_core::archive::{ArchiveStore, CreateArchive};
use treeferry_core::format::Branch;
use treeferry_core::ops::copy::{CopyOptions, CopyReport, RefOutcome, all_refs, copy};
use treeferry_core::ops::fsck::{FsckOptions, fsck};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::{Depth, Repo};
use treeferry_core::store::{ExpectedRef, ObjectSource, RefName, RefSpace, RefUpdate};
use treeferry_core::transport::{FetchOptions, Fetched, WritableTransport};
use treeferry_core::{ErrorKind, Result};
use treeferry_transport_s3::{BucketTransport, Writers};

/// A repository that the C implementation made, with a tree that can be changed.
struct Origin {
    dir: tempfile::TempDir,
}

impl Origin {
    fn new(files: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = Self { dir };
        ostree(&origin.repo(), &["init", "--mode=bare-user"]);
        for number in 0..files {
            origin.write(
                &format!("d{}/f{number}", number % 23),
                format!("content {number}"),
            );
        }
        origin
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.path().join("tree").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit(&self, branch: &str, subject: &str) -> String {
        let tree = self.dir.path().join("tree");
        let tree = tree.to_str().unwrap();
        let owner = ["--owner-uid=0", "--owner-gid=0"];
        let line = [
            "commit", "-b", branch, "-s", subject, tree, owner[0], owner[1],
        ];
        ostree(&self.repo(), &line).trim().to_owned()
    }

    async fn open(&self) -> Repo {
        let opened = FsRepo::open(self.repo(), OpenOptions::default())
            .await
            .unwrap();
        Repo::new(Arc::new(opened))
    }
}

async fn push(origin: &Origin, store: &ArchiveStore) -> Result<CopyReport> {
    let from = origin.open().await;
    let to = Repo::new(Arc::new(store.clone()));
    let refs = all_refs(&from).await?;
    let report = copy(&PullSource::from(from), &to, &refs, &CopyOptions::default()).await;
    store.settle().await;
    report
}

/// A client that is the C implementation, of what the bucket shows to all.
struct Client {
    dir: tempfile::TempDir,
}

impl Client {
    fn new(address: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = Self { dir };
        ostree(&client.repo(), &["init", "--mode=archive"]);
        let prefix = address.strip_prefix("s3://").unwrap();
        let url = format!("http://127.0.0.1:{}/{prefix}", seaweed().port);
        ostree(
            &client.repo(),
            &["remote", "add", "--no-gpg-verify", "bucket", &url],
        );
        client
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn pull(&self, branch: &str) -> String {
        ostree(&self.repo(), &["pull", "bucket", branch]);
        ostree(&self.repo(), &["fsck", "-q"]);
        let head = ostree(&self.repo(), &["rev-parse", &format!("bucket:{branch}")]);
        head.trim().to_owned()
    }
}

fn count(seen: &BTreeMap<String, (u64, u64)>, kind: &str) -> (u64, u64) {
    seen.get(kind).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn what_was_pushed_is_pulled_by_ostree_and_an_update_sends_what_changed() {
    let origin = Origin::new(300);
    let first = origin.commit("os", "one");
    let address = fresh_address();
    let proxy = Proxy::counting(seaweed().port).await;
    let store = open_archive(&address, proxy.port).await;
    proxy.take();
    let report = push(&origin, &store).await.unwrap();
    let seen = proxy.take();
    println!("version 1: {seen:?}");
    let new =
        report.replicated.written.content_written + report.replicated.written.metadata_written;
    check_requests(&seen, new);
    let client = Client::new(&address);
    assert_eq!(client.pull("os"), first);

    for number in 0..10 {
        origin.write(&format!("d1/new{number}"), format!("new {number}"));
    }
    let second = origin.commit("os", "two");
    // Another machine pushes: it has to find out what is there.
    let store = open_archive(&address, proxy.port).await;
    proxy.take();
    let report = push(&origin, &store).await.unwrap();
    let seen = proxy.take();
    println!("version 2: {seen:?}");
    let written = report.replicated.written;
    assert_eq!((written.content_written, written.metadata_written), (10, 3));
    check_requests(&seen, 13);
    assert_eq!(count(&seen, "PUT object").0, 13);
    assert!(count(&seen, "PUT object").1 < 20_000, "{seen:?}");
    assert_eq!(client.pull("os"), second);
}

/// Checks that each new object took one request, and that the rest are a few listings.
fn check_requests(seen: &BTreeMap<String, (u64, u64)>, new: u64) {
    let all = seen
        .iter()
        .filter(|(kind, _)| kind.ends_with("object") || kind.ends_with("other"));
    let requests: u64 = all.map(|(_, (requests, _))| requests).sum();
    let allowed = new + new.div_ceil(10).max(8);
    assert!(
        requests <= allowed,
        "{requests} requests for {new} objects: {seen:?}"
    );
    assert_eq!(count(seen, "PUT object").0, new, "{seen:?}");
    assert!(count(seen, "GET list").0 <= 40, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn a_push_through_a_bad_line_completes_and_readers_see_no_error() {
    let origin = Origin::new(120);
    origin.commit("os", "zero");
    let address = fresh_address();
    push(&origin, &open_archive(&address, seaweed().port).await)
        .await
        .unwrap();
    let spoiled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&spoiled);
    let proxy = Proxy::start(
        seaweed().port,
        Arc::new(move |number, _, _| {
            // About one in twenty, of all kinds but stalls, which take long.
            let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let fate = match mixed % 120 {
                0 => Fate::Refuse(500),
                1 => Fate::Refuse(503),
                2 => Fate::Reset,
                3 => Fate::DoneAndReset,
                4 => Fate::DoneAnd500,
                5 => Fate::Half,
                _ => Fate::Pass,
            };
            counter.fetch_add(u64::from(fate != Fate::Pass), Ordering::Relaxed);
            fate
        }),
    )
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let reading = pull_until(&address, &done);
    let mut last = String::new();
    for round in 0..20 {
        for number in 0..8 {
            origin.write(&format!("d{number}/r{round}"), format!("{round} {number}"));
        }
        last = origin.commit("os", &format!("round {round}"));
        let store = open_archive(&address, proxy.port).await;
        push(&origin, &store).await.unwrap();
    }
    done.store(true, Ordering::Release);
    let pulls = reading.await.unwrap();
    let spoiled = spoiled.load(Ordering::Relaxed);
    println!("{spoiled} requests were spoiled, {pulls} pulls went well");
    assert!(spoiled > 10 && pulls > 0);
    assert_eq!(Client::new(&address).pull("os"), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn a_push_that_was_cut_sends_what_is_missing_when_it_is_run_again() {
    let origin = Origin::new(100);
    let commit = origin.commit("os", "one");
    for passes in [15, 60, 115] {
        let address = fresh_address();
        let cut = Arc::new(AtomicU64::new(u64::MAX));
        let line = Arc::clone(&cut);
        let proxy = Proxy::start(
            seaweed().port,
            Arc::new(move |_, method, path| {
                // Looked at and counted in one step: of two requests that both saw the last pass,
                // one would count below nothing, and nothing would ever be cut.
                let counts = method == "PUT" && path.contains("/objects/");
                let passes = line.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    let taken = u64::from(counts && left < u64::MAX);
                    left.checked_sub(taken)
                });
                if passes.unwrap_or(0) == 0 {
                    Fate::Reset
                } else {
                    Fate::Pass
                }
            }),
        )
        .await;
        let store = open_archive(&address, proxy.port).await;
        proxy.take();
        cut.store(passes, Ordering::SeqCst);
        let error = push(&origin, &store).await.unwrap_err();
        let unavailable = matches!(error.kind(), ErrorKind::Unavailable { .. });
        assert!(unavailable, "{error:?}");
        drop(store);
        cut.store(u64::MAX, Ordering::SeqCst);
        proxy.take();
        let store = open_archive(&address, proxy.port).await;
        let report = push(&origin, &store).await.unwrap();
        let written = report.replicated.written;
        let again = written.content_written + written.metadata_written;
        let sent = count(&proxy.take(), "PUT object").0;
        println!("cut after {passes}: {again} were missing, {sent} sent");
        assert_eq!(sent, again);
        assert!(
            sent + passes >= 126 && sent + passes <= 126 + 40,
            "{sent} after {passes}"
        );
        assert_eq!(Client::new(&address).pull("os"), commit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn a_large_file_goes_in_parts_and_a_cut_one_leaves_nothing() {
    let origin = Origin::new(3);
    // Does not get smaller when it is deflated.
    let mut state = 1_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(23 * 1024 * 1024)
    .collect();
    origin.write("large", &content);
    let commit = origin.commit("os", "large");
    let address = fresh_address();
    let cut = Arc::new(AtomicBool::new(true));
    let line = Arc::clone(&cut);
    let decide = move |_, _: &str, path: &str| {
        let third = path.contains("partNumber=3");
        if line.load(Ordering::SeqCst) && third {
            Fate::Refuse(403)
        } else {
            Fate::Pass
        }
    };
    let proxy = Proxy::start(seaweed().port, Arc::new(decide)).await;
    let mut options = options(proxy.port);
    options.part_bytes = 5 * 1024 * 1024;
    let transport = BucketTransport::open_for_writing(&address, options)
        .await
        .unwrap();
    let (create, archive) = (CreateArchive::default(), support::archive_options());
    let store = ArchiveStore::create(Arc::new(transport), create, archive)
        .await
        .unwrap();
    let error = push(&origin, &store).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(
        count(&proxy.take(), "DELETE upload").0 >= 1,
        "the upload was not given up"
    );
    cut.store(false, Ordering::SeqCst);
    push(&origin, &store).await.unwrap();
    let seen = proxy.take();
    println!("{seen:?}");
    // 23 MiB and a header in parts of 5 MiB; a beginning and an end.
    assert_eq!(count(&seen, "PUT part").0, 5, "{seen:?}");
    assert_eq!(count(&seen, "POST upload").0, 2, "{seen:?}");
    assert_eq!(Client::new(&address).pull("os"), commit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn of_two_who_push_to_one_ref_one_learns_what_it_holds() {
    two_pushers(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: 200 races. Needs SeaweedFS, and ostree"]
async fn of_two_who_push_200_times_none_is_forgotten() {
    two_pushers(200).await;
}

/// Has two push to one ref at once, again and again.
async fn two_pushers(rounds: usize) {
    let mut lost = 0;
    let origins = [Origin::new(10), Origin::new(10)];
    let address = fresh_address();
    for round in 0..rounds {
        let pushes = origins.iter().enumerate().map(|(who, origin)| {
            origin.write("who", format!("{who} {round}"));
            origin.commit("os", &format!("{who} {round}"));
            let address = &address;
            async move {
                push(origin, &open_archive(address, seaweed().port).await)
                    .await
                    .unwrap()
            }
        });
        let reports = futures::future::join_all(pushes).await;
        let moved: Vec<_> = reports
            .iter()
            .filter(|r| r.refs[0].outcome == RefOutcome::Moved)
            .collect();
        assert!(!moved.is_empty(), "{reports:?}");
        let store = open_archive(&address, seaweed().port).await;
        let name = RefName::Local(Branch::new("os").unwrap());
        let repo = Repo::new(Arc::new(store));
        let current = repo.refs().read_ref(&name).await.unwrap();
        for report in &reports {
            match &report.refs[0].outcome {
                RefOutcome::Moved => {}
                RefOutcome::Conflict { current: told } => {
                    assert_eq!(*told, current);
                    lost += 1;
                }
                RefOutcome::Unchanged => panic!("the commits differ"),
            }
        }
        if round % 8 == 0 {
            Client::new(&address).pull("os");
        }
    }
    println!("{rounds} races, {lost} of them lost by one, who was told");
    Client::new(&address).pull("os");
}

/// Has one push what is there, and nobody's, while another prunes it, again and again.
async fn pusher_and_prune(rounds: usize) {
    let origin = Origin::new(12);
    let address = fresh_address();
    let open = || open_archive(&address, seaweed().port);
    let (pusher, pruner) = (open().await, open().await);
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.depth = Some(Depth::Parents(0));
    options.grace = Some(Duration::ZERO);
    let name = RefName::Local(Branch::new("os").unwrap());
    let to = Repo::new(Arc::new(pusher.clone()));
    let other = Repo::new(Arc::new(pruner.clone()));
    let mut pruned = 0;
    for round in 0..rounds {
        origin.write(&format!("d{}/changing", round % 5), format!("{round}"));
        origin.commit("os", &format!("{round}"));
        push(&origin, &pusher).await.unwrap();
        let gone = RefUpdate {
            name: name.clone(),
            expected: ExpectedRef::Any,
            new: None,
        };
        to.refs().update_refs(&[gone]).await.unwrap();
        pusher.settle().await;
        let pruning = async {
            let report = prune(&other, &options).await;
            pruner.settle().await;
            report
        };
        let (pushed, report) = futures::future::join(push(&origin, &pusher), pruning).await;
        pruned += report.unwrap().objects_pruned;
        assert_eq!(pushed.unwrap().refs[0].outcome, RefOutcome::Moved);
        let checked = fsck(&to, &FsckOptions::default()).await.unwrap();
        assert!(checked.is_sound(), "round {round}: {checked:?}");
    }
    println!("{rounds} races, {pruned} objects were pruned");
    assert!(pruned > 0);
    Client::new(&address).pull("os");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn a_prune_beside_a_push_takes_nothing_that_is_relied_on() {
    pusher_and_prune(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: 200 races. Needs SeaweedFS, and ostree"]
async fn a_prune_beside_200_pushes_takes_nothing_that_is_relied_on() {
    pusher_and_prune(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn pulls_under_way_while_a_bucket_is_pruned_miss_nothing() {
    let origin = Origin::new(150);
    origin.commit("os", "zero");
    let address = fresh_address();
    let store = open_archive(&address, seaweed().port).await;
    push(&origin, &store).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reading = pull_until(&address, &done);
    let repo = Repo::new(Arc::new(store.clone()));
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.depth = Some(Depth::Parents(0));
    // Longer than a pull takes, however slow the machine is.
    let first = Instant::now();
    Client::new(&address).pull("os");
    let grace = (first.elapsed() * 10).max(Duration::from_secs(15));
    options.grace = Some(grace);
    let (begun, mut round, mut pruned) = (Instant::now(), 0, 0);
    while pruned == 0 || begun.elapsed() < Duration::from_secs(20) {
        // All of it is another.
        for number in 0..150 {
            origin.write(
                &format!("d{}/f{number}", number % 23),
                format!("{round} {number}"),
            );
        }
        origin.commit("os", &format!("{round}"));
        push(&origin, &store).await.unwrap();
        pruned += prune(&repo, &options).await.unwrap().objects_pruned;
        round += 1;
        assert!(begun.elapsed() < grace * 12, "nothing is pruned");
    }
    done.store(true, Ordering::Release);
    let pulls = reading.await.unwrap();
    println!("{pulls} pulls beside {round} pushes and prunes, of {pruned} objects");
    assert!(pulls > 0);
    options.grace = Some(Duration::ZERO);
    prune(&repo, &options).await.unwrap();
    store.settle().await;
    Client::new(&address).pull("os");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn a_prune_of_a_bucket_lists_and_deletes_in_batches() {
    let origin = Origin::new(60);
    origin.commit("old", "old");
    let address = fresh_address();
    let proxy = Proxy::counting(seaweed().port).await;
    push(&origin, &open_archive(&address, proxy.port).await)
        .await
        .unwrap();
    let name = RefName::Local(Branch::new("old").unwrap());
    let store = open_archive(&address, proxy.port).await;
    let repo = Repo::new(Arc::new(store.clone()));
    for number in 0..60 {
        origin.write(
            &format!("d{}/f{number}", number % 23),
            format!("changed {number}"),
        );
    }
    let kept = origin.commit("new", "new");
    push(&origin, &store).await.unwrap();
    let gone = RefUpdate {
        name,
        expected: ExpectedRef::Any,
        new: None,
    };
    repo.refs().update_refs(&[gone]).await.unwrap();
    proxy.take();
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.grace = Some(Duration::ZERO);
    let report = prune(&repo, &options).await.unwrap();
    let seen = proxy.take();
    println!("pruned {}: {seen:?}", report.objects_pruned);
    assert_eq!(report.objects_pruned, 60 + 24 + 1);
    assert!(
        seen.iter()
            .filter(|(kind, _)| kind.starts_with("POST"))
            .count()
            <= 6,
        "{seen:?}"
    );
    assert!(count(&seen, "GET list").0 <= 12, "{seen:?}");
    let left = repo.refs().list_refs(&RefSpace::All).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(Client::new(&address).pull("new"), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_rclone, has_ostree)), ignore = "needs rclone, and ostree")]
async fn a_server_that_ignores_conditions_is_refused_unless_one_writes_alone() {
    let address = fresh_address();
    let refused = BucketTransport::open_for_writing(&address, options(rclone().port)).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.to_string().contains("single-writer"), "{error}");
    let mut alone = options(rclone().port);
    alone.writers = Writers::One;
    let transport = BucketTransport::open_for_writing(&address, alone)
        .await
        .unwrap();
    let (create, archive) = (CreateArchive::default(), support::archive_options());
    let store = ArchiveStore::create(Arc::new(transport), create, archive)
        .await
        .unwrap();
    let origin = Origin::new(20);
    let commit = origin.commit("os", "one");
    push(&origin, &store).await.unwrap();
    let copied = tempfile::tempdir().unwrap();
    let repo = copied.path().join("repo");
    download(&*store.transport().clone(), &repo).await;
    ostree(&repo, &["fsck", "-q"]);
    assert_eq!(ostree(&repo, &["rev-parse", "os"]).trim(), commit);
}

/// Makes a directory of all files in a place.
async fn download(transport: &dyn WritableTransport, to: &Path) {
    for name in ["tmp", "state", "extensions", "refs/remotes", "refs/mirrors"] {
        std::fs::create_dir_all(to.join(name)).unwrap();
    }
    let files: Vec<_> = transport.list("").try_collect().await.unwrap();
    for listed in files {
        let fetched = transport
            .fetch(&listed.path, FetchOptions::default())
            .await
            .unwrap();
        let Some(Fetched::File(file)) = fetched else {
            panic!("{} is listed, and not there", listed.path);
        };
        let path = to.join(listed.path.as_str());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.collect(u64::MAX).await.unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
async fn anybody_may_read_what_is_public_and_nobody_may_write_it() {
    let origin = Origin::new(5);
    let commit = origin.commit("os", "one");
    let address = fresh_address();
    push(&origin, &open_archive(&address, seaweed().port).await)
        .await
        .unwrap();
    let anonymous = support::anonymous(seaweed().port);
    let reader = BucketTransport::open(&address, anonymous.clone())
        .await
        .unwrap();
    let remote = treeferry_core::archive::ArchiveRemote::new(Arc::new(reader));
    let name = RefName::Local(Branch::new("os").unwrap());
    let read = remote.read_ref(&name).await.unwrap();
    assert_eq!(read.unwrap().to_string(), commit);
    let absent = RefName::Local(Branch::new("absent").unwrap());
    assert_eq!(remote.read_ref(&absent).await.unwrap(), None);
    let commit = treeferry_core::format::ObjectName::commit(commit.parse().unwrap());
    assert!(remote.fetch(&commit).await.unwrap().is_some());
    let refused = BucketTransport::open_for_writing(&address, anonymous).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
}

/// Pulls again and again, as clients of their own, until it is `done`; returns how often.
fn pull_until(address: &str, done: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u32> {
    let (address, done) = (address.to_owned(), Arc::clone(done));
    tokio::task::spawn_blocking(move || {
        let mut pulls = 0;
        while !done.load(Ordering::Acquire) {
            Client::new(&address).pull("os");
            pulls += 1;
        }
        pulls
    })
}
