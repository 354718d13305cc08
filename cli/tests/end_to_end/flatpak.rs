//! Repositories that flatpak publishes: refs that stand in its index of summaries only, and its keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::gpg::Home;
use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{Ran, ostree, treeferry};
use crate::support::tree::write;
use crate::support::{Place, assert_c_fsck, rev};

const X86: &str = "app/org.example.App/x86_64/stable";
const ARM: &str = "app/org.example.App/aarch64/stable";

/// A repository of two architectures, of which the summary for old clients has one.
struct Published {
    place: Place,
    home: Home,
    key: String,
    repo: PathBuf,
    client: PathBuf,
}

impl Published {
    fn new() -> Self {
        let (place, home) = (Place::new(), Home::new());
        let published = Self {
            key: home.key("owner", "ed25519"),
            repo: place.init_c("source", "archive"),
            client: place.init("client", "archive"),
            place,
            home,
        };
        let config = published.repo.join("config");
        let flatpak = "\n[flatpak]\ntitle=Example\nsummary-arches=x86_64;\n";
        let text = fs::read_to_string(&config).unwrap();
        fs::write(config, text + flatpak).unwrap();
        published.commit(X86, b"first");
        published.commit(ARM, b"first");
        published.publish();
        published
    }

    fn commit(&self, branch: &str, content: &[u8]) {
        write(&self.place.join("tree"), "files/app", content);
        let tree = format!("--tree=dir={}", self.place.join("tree").display());
        let metadata = "--add-metadata-string=xa.metadata=[Application]\nname=org.example.App\n";
        let sizes = [
            "--add-metadata=xa.installed-size=uint64 100",
            "--add-metadata=xa.download-size=uint64 50",
        ];
        let args = ["commit", "-b", branch, &tree, metadata, sizes[0], sizes[1]];
        ostree(&self.repo, args).success();
    }

    /// Has flatpak write the summary, the index and the sub-summaries, and sign them.
    fn publish(&self) {
        let mut flatpak = Command::new("flatpak");
        flatpak
            .args(["build-update-repo", "--no-update-appstream"])
            .arg(format!("--gpg-sign={}", self.key))
            .arg(self.home.option())
            .arg(&self.repo)
            // What it keeps for its user belongs elsewhere.
            .env("HOME", self.place.path())
            .env("XDG_DATA_HOME", self.place.join("data"));
        Ran::of(&mut flatpak).success();
    }

    /// Adds the repository as a remote whose summary must be signed.
    fn trust(&self, server: &RawServer) {
        let keys = self.home.export(&self.place, "keys", &self.key);
        let import = format!("--gpg-import={}", keys.display());
        let settings = ["--set=gpg-verify-summary=true", "--set=gpg-verify=false"];
        let add = [
            "remote",
            "add",
            "--force",
            settings[0],
            settings[1],
            &import,
        ];
        let add = add.into_iter().chain(["origin", server.url()]);
        treeferry(&self.client, add).success();
    }

    fn pull(&self, branch: &str) -> Ran {
        treeferry(&self.client, ["pull", "origin", branch])
    }

    fn is_pulled(&self, branch: &str) {
        self.pull(branch).success();
        let here = rev(&self.client, &format!("origin:{branch}"));
        assert_eq!(here, rev(&self.repo, branch));
    }
}

fn serve(root: &Path) -> RawServer {
    RawServer::start(root, |_, _| Answer::File)
}

/// The files of the directory `summaries` whose names end so.
fn summaries(repo: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repo.join("summaries")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    assert!(!found.is_empty(), "no {end}");
    found
}

#[test]
#[cfg_attr(
    not(all(has_ostree, has_gpg, has_flatpak)),
    ignore = "needs ostree, gpg and flatpak"
)]
fn refs_are_found_in_the_signed_index_of_summaries() {
    let published = Published::new();
    let server = serve(&published.repo);
    published.trust(&server);
    // One is in the summary, the other is not.
    published.is_pulled(X86);
    published.is_pulled(ARM);
    published
        .pull("app/org.example.Other/x86_64/stable")
        .failure_naming(&["No such branch"]);
    // Without any summary the index is enough, for one ref and for all of them.
    for name in ["summary", "summary.sig"] {
        fs::remove_file(published.repo.join(name)).unwrap();
    }
    published.commit(ARM, b"second");
    published.commit(X86, b"second");
    let heads = [X86, ARM].map(|branch| rev(&published.repo, branch));
    let indexed = |name: &str| fs::read(published.repo.join(name)).unwrap();
    let before = indexed("summary.idx");
    published.publish();
    assert_ne!(indexed("summary.idx"), before);
    for name in ["summary", "summary.sig"] {
        fs::remove_file(published.repo.join(name)).unwrap();
    }
    // Refs in files are nobody's word.
    fs::remove_dir_all(published.repo.join("refs/heads/app")).unwrap();
    published.pull(ARM).success();
    treeferry(&published.client, ["pull", "--mirror", "origin"]).success();
    for (branch, head) in [X86, ARM].into_iter().zip(heads) {
        assert_eq!(rev(&published.client, branch), head);
    }
    assert_c_fsck(&published.client);
}

#[test]
#[cfg_attr(
    not(all(has_ostree, has_gpg, has_flatpak)),
    ignore = "needs ostree, gpg and flatpak"
)]
fn an_index_of_summaries_is_believed_only_if_it_is_signed_and_whole() {
    let published = Published::new();
    let server = serve(&published.repo);
    published.trust(&server);
    for name in ["summary", "summary.sig"] {
        fs::remove_file(published.repo.join(name)).unwrap();
    }
    let flip = |path: &Path| {
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
        whole
    };
    let index = published.repo.join("summary.idx");
    let whole = flip(&index);
    published
        .pull(ARM)
        .failure_naming(&["index of summaries", "BAD signature"]);
    fs::write(&index, whole).unwrap();
    for sub in summaries(&published.repo, ".gz") {
        flip(&sub);
    }
    published.pull(ARM).failure_naming(&["sub-summary"]);
    // Its signature lies in two places.
    for path in summaries(&published.repo, ".idx.sig") {
        fs::remove_file(path).unwrap();
    }
    let signature = published.repo.join("summary.idx.sig");
    published.pull(ARM).failure_naming(&["sub-summary"]);
    fs::remove_file(signature).unwrap();
    published
        .pull(ARM)
        .failure_naming(&["index of summaries", "o signatures found"]);
    fs::remove_file(index).unwrap();
    published.pull(ARM).failure_naming(&["there is no summary"]);
}

#[test]
#[cfg_attr(
    not(all(has_ostree, has_gpg, has_flatpak)),
    ignore = "needs ostree, gpg and flatpak"
)]
fn the_keys_of_flatpak_stay_in_a_summary_that_is_made_anew() {
    let published = Published::new();
    let other = "app/org.example.Other/x86_64/stable";
    published.commit(other, b"other");
    published.publish();
    let view = || ostree(&published.repo, ["summary", "-v"]).success().out;
    let cached = |text: &str, branch: &str| {
        let cache = text.lines().find(|line| line.starts_with("xa.cache:"));
        cache.unwrap().contains(branch)
    };
    assert!(cached(&view(), X86) && cached(&view(), other));
    // Of a ref that has moved the cache would be wrong.
    published.commit(X86, b"newer");
    treeferry(&published.repo, ["summary", "-u"]).success();
    let text = view();
    assert!(text.contains("xa.title: 'Example'"), "{text}");
    assert!(cached(&text, other) && !cached(&text, X86), "{text}");
    assert!(text.contains(ARM) && text.contains(&rev(&published.repo, X86).unwrap()));
    // By the other name they go, as they go there.
    let args = [format!("--repo={}", published.repo.display())];
    let mut command = crate::support::run::treeferry_command(&published.repo, ["summary", "-u"]);
    let program = published.place.join("ostree");
    std::os::unix::fs::symlink(command.get_program(), &program).unwrap();
    command = Command::new(program);
    command.args(args).args(["summary", "-u"]);
    Ran::of(&mut command).success();
    assert!(!view().contains("xa."), "{}", view());
}
