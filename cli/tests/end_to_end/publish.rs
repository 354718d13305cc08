//! Summaries that are published while clients poll: whatever pair of files a client gets, it fits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gpg::Home;
use crate::support::chance::Chance;
use crate::support::nginx::{Manners, Nginx};
use crate::support::run::{Ran, ostree, treeferry};
use crate::support::tree::write;
use crate::support::{Place, assert_c_fsck, rev};

/// How long a publisher waits. Longer than a client takes from one of the two files to the other: C runs
/// GnuPG in between, and the machine may do much else. With 0.3 seconds, on a loaded machine, a
/// pull of C was seen to take longer, and to fail; so was, with 2 seconds, one of some sixty while thirteen others
/// waited for two processors.
const GRACE: &str = "--grace=6";

type Run = fn(&Path, Vec<String>) -> Ran;

/// A client that pulls for as long as it is let, and counts. It rests between two pulls, for up to `rest`.
fn poll(repo: PathBuf, run: Run, rest: Duration, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        static POLLS: AtomicU64 = AtomicU64::new(0);
        let (mut polls, mut chance) = (0, Chance::new(POLLS.fetch_add(1, Ordering::Relaxed)));
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(rest.mul_f64(chance.among(0..1000) as f64 / 1000.0));
            let pull = ["pull", "origin", "main"].map(str::to_owned).to_vec();
            run(&repo, pull).success();
            // What a ref holds is there, all of it.
            let list = ["ls", "-R", "origin:main"].map(str::to_owned).to_vec();
            run(&repo, list).success();
            polls += 1;
        }
        polls
    })
}

fn publish_under_readers(publications: usize, rest: Duration) {
    let (place, home) = (Place::new(), Home::new());
    let key = home.key("owner", "ed25519");
    let (by, of) = (format!("--gpg-sign={key}"), home.option());
    let source = place.init_unsynced("source", "archive");
    let publish = |number: usize| {
        write(&place.join("tree"), "file", format!("{number}").as_bytes());
        let tree = format!("--tree=dir={}", place.join("tree").display());
        treeferry(&source, ["commit", "-b", "main", &tree, &by, &of]).success();
        treeferry(&source, ["summary", "-u", GRACE, &by, &of]).success();
    };
    publish(0);
    let server = Nginx::start(&source, Manners::default());
    let keys = home.export(&place, "keys", &key);
    let import = format!("--gpg-import={}", keys.display());
    let client = |name: &str| {
        let repo = place.init_unsynced(name, "archive");
        let summary = "--set=gpg-verify-summary=true";
        treeferry(
            &repo,
            ["remote", "add", summary, &import, "origin", &server.url()],
        )
        .success();
        repo
    };
    let stop = Arc::new(AtomicBool::new(false));
    let clients = [client("ours"), client("theirs")];
    let runs: [Run; 2] = [
        |repo, args| treeferry(repo, args),
        |repo, args| ostree(repo, args),
    ];
    let polls = [0, 1].map(|at| poll(clients[at].clone(), runs[at], rest, stop.clone()));
    let started = Instant::now();
    for number in 1..=publications {
        publish(number);
        assert!(
            polls.iter().all(|poll| !poll.is_finished()),
            "a client failed"
        );
    }
    std::thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Relaxed);
    let polls = polls.map(|poll| poll.join().unwrap());
    println!(
        "{publications} publications in {:?}; polls of ours and of C: {polls:?}",
        started.elapsed()
    );
    assert!(
        polls.iter().all(|polls| *polls >= publications.div_ceil(4)),
        "{polls:?}"
    );
    let head = rev(&source, "main");
    for (client, run) in clients.iter().zip(runs) {
        run(
            client,
            ["pull", "origin", "main"].map(str::to_owned).to_vec(),
        )
        .success();
        assert_eq!(rev(client, "origin:main"), head);
        assert_c_fsck(client);
    }
}

#[test]
#[cfg_attr(
    not(all(has_ostree, has_gpg, has_nginx)),
    ignore = "needs ostree, gpg and nginx"
)]
fn polling_clients_of_both_kinds_never_see_a_summary_that_does_not_fit() {
    publish_under_readers(5, Duration::ZERO);
}

#[test]
#[ignore = "takes half an hour; run with --long. Needs ostree, gpg and nginx"]
fn a_thousand_publications_under_polling_clients_of_both_kinds() {
    // Publishers mostly wait: five of them, each with its repository, server and clients, are done sooner than one.
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| publish_under_readers(200, Duration::from_secs(2)));
        }
    });
}

#[test]
#[cfg_attr(not(all(has_ostree, has_gpg)), ignore = "needs ostree and gpg")]
fn the_cache_of_summaries_is_shared_with_c() {
    let (place, home) = (Place::new(), Home::new());
    let key = home.key("owner", "ed25519");
    let (by, of) = (format!("--gpg-sign={key}"), home.option());
    let source = place.init("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    treeferry(&source, ["commit", "-b", "main", &tree, &by, &of]).success();
    treeferry(&source, ["summary", "-u", &by, &of]).success();
    let server = crate::support::raw_server::RawServer::start(&source, |_, _| {
        crate::support::raw_server::Answer::File
    });
    let keys = home.export(&place, "keys", &key);
    let import = format!("--gpg-import={}", keys.display());
    let runs: [Run; 2] = [
        |repo, args| treeferry(repo, args),
        |repo, args| ostree(repo, args),
    ];
    let pull = || ["pull", "origin", "main"].map(str::to_owned).to_vec();
    for (first, second) in [(runs[0], runs[1]), (runs[1], runs[0])] {
        let place = Place::new();
        let repo = place.init("repo", "bare-user");
        let add = [
            "remote",
            "add",
            "--set=gpg-verify-summary=true",
            &import,
            "origin",
            server.url(),
        ];
        treeferry(&repo, add).success();
        first(&repo, pull()).success();
        let cached =
            |name: &str| std::fs::read(repo.join("tmp/cache/summaries").join(name)).unwrap();
        let served = |name: &str| std::fs::read(source.join(name)).unwrap();
        assert_eq!(cached("origin"), served("summary"));
        assert_eq!(cached("origin.sig"), served("summary.sig"));
        let before = server.requests().len();
        second(&repo, pull()).success();
        let asked = server.requests().split_off(before);
        let summaries = asked
            .iter()
            .filter(|(_, path)| path.ends_with("/summary"))
            .count();
        assert_eq!(summaries, 0, "{asked:?}");
        // One that was torn is worth nothing, and is mended.
        std::fs::write(repo.join("tmp/cache/summaries/origin"), b"torn").unwrap();
        treeferry(&repo, ["pull", "origin", "main"]).success();
        assert_eq!(cached("origin"), served("summary"));
    }
}
