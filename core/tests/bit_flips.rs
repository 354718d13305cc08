//! A bit that is flipped in a signed bundle, a delta, a signed summary or a signature: what it makes of
//! these is refused, or as good as what they were.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use support::{Pile, header, memory_repo};
use treeferry_core::Result;
use treeferry_core::format::delta::DeltaName;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{Checksum, ObjectName, ObjectType, Summary, SummaryRef};
use treeferry_core::ops::delta::{
    ApplyBudget, ApplyOptions, BundleInfo, DeltaPlace, Destination, MakeOptions, OpenDelta,
    PartsIn, SpillPlace, apply, make, verify,
};
use treeferry_core::ops::pull::{PullOptions, PullRef, PullSource, pull};
use treeferry_core::ops::replicate::{ReplicateOptions, replicate};
use treeferry_core::pool::Pool;
use treeferry_core::repo::Repo;
use treeferry_core::sign::{
    Ed25519SecretKey, Ed25519Signer, Ed25519Verifier, Scheme, Trust, Verifier, VerifyPolicy,
    add_signature, require,
};
use treeferry_core::store::SignedSummary;

const NOW_SECS: u64 = 1_700_000_000;
/// A bundle that fits into what a mail or a serial line takes.
const BUNDLE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn key() -> Ed25519SecretKey {
    Ed25519SecretKey::from_seed(&[4; 32])
}

fn trusting() -> Arc<dyn Verifier> {
    Arc::new(Ed25519Verifier::new([key().public()]))
}

/// Two versions of a tree, and where they come from.
struct Scene {
    pile: Arc<Pile>,
    old: Checksum,
    new: Checksum,
}

impl Scene {
    /// `fresh`: how many new bytes the second version has.
    fn new(fresh: usize) -> Self {
        let pile = Arc::new(Pile::default());
        let meta = pile.meta(0o755);
        let version = |number: u64, fresh: usize, parent| {
            let mut patched = noise(1, 9000);
            patched
                .iter_mut()
                .step_by(700)
                .for_each(|b| *b ^= number as u8);
            let copied = [noise(2, 4000), noise(number, 90), noise(3, 4000)].concat();
            let files = [
                ("copied", pile.file(&header(0o644), &copied)),
                (
                    "fresh",
                    pile.file(&header(0o600), &noise(10 + number, fresh)),
                ),
                ("patched", pile.file(&header(0o755), &patched)),
                ("same", pile.file(&header(0o644), b"in both")),
            ];
            let inner = pile.tree(&files, &[]);
            let root = pile.tree(&[], &[("dir", inner, meta)]);
            pile.commit(root, meta, parent)
        };
        let old = version(4, 100, None);
        let new = version(5, fresh, Some(old));
        Self { pile, old, new }
    }

    async fn repo(&self, commits: &[Checksum]) -> Repo {
        let repo = memory_repo();
        let source = [self.pile.clone() as _];
        let moved = replicate(&source, &repo, commits, &ReplicateOptions::default()).await;
        moved.unwrap();
        repo
    }

    /// Makes the delta from the old version to the new one, or from nothing; all in one.
    async fn delta(&self, from: Option<Checksum>, signed: bool) -> Bytes {
        let dir = tempfile::tempdir().unwrap();
        let repo = self.repo(&[self.old, self.new]).await;
        let mut options = MakeOptions::default();
        options.generate.fallback_bytes_min = None;
        options.to = Destination::File(dir.path().join("delta"));
        options.parts = PartsIn::Superblock(SpillPlace::Memory);
        if signed {
            let info = BundleInfo {
                refs: vec!["main".parse().unwrap()],
                ..BundleInfo::default()
            };
            options.metadata = info.to_metadata();
            options.signers = vec![Arc::new(Ed25519Signer::new(key()))];
        }
        let name = DeltaName::new(from, self.new);
        make(&repo, &name, &options).await.unwrap();
        std::fs::read(dir.path().join("delta")).unwrap().into()
    }
}

async fn objects(repo: &Repo) -> BTreeSet<ObjectName> {
    let mut names = BTreeSet::new();
    for object_type in ObjectType::ALL {
        let listed: Vec<_> = repo.objects().list(object_type).collect().await;
        names.extend(listed.into_iter().map(|listed| listed.unwrap().name));
    }
    names
}

/// What became of flips.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    harmless: usize,
}

impl Tally {
    fn total(&self) -> usize {
        self.refused + self.harmless
    }
}

/// Every so many-th bit of something, flipped.
fn flipped(bytes: &Bytes, every: usize) -> impl Iterator<Item = (usize, Bytes)> {
    let bytes = bytes.clone();
    (0..bytes.len() * 8).step_by(every).map(move |bit| {
        let mut copy = bytes.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        (bit, copy.into())
    })
}

/// Verifies and applies, as `bundle apply` does; without a verifier, as `static-delta apply-offline`.
async fn install(repo: &Repo, bytes: Bytes, verifier: Option<&Arc<dyn Verifier>>) -> Result<()> {
    let (budget, pool) = (ApplyBudget::default(), Pool::default());
    let delta = OpenDelta::read(Arc::new(bytes), DeltaPlace::Inside, &budget, &pool)?;
    if let Some(verifier) = verifier {
        let verdict = verify(&delta, verifier, Some(NOW_SECS), &pool).await?;
        verdict.into_result()?;
    }
    let mut options = ApplyOptions::default();
    options.budget = budget;
    apply(repo, &delta, &options).await.map(drop)
}

/// Flips bits of a delta that applies to `scene`'s repository with the commits `held`.
async fn flip_delta(
    scene: &Scene,
    held: &[Checksum],
    delta: &Bytes,
    verifier: Option<&Arc<dyn Verifier>>,
    every: usize,
) -> Tally {
    let mut repo = scene.repo(held).await;
    let before = objects(&repo).await;
    let whole = scene.repo(held).await;
    install(&whole, delta.clone(), verifier).await.unwrap();
    let after = objects(&whole).await;
    assert!(before.len() < after.len());
    let mut tally = Tally::default();
    for (bit, bytes) in flipped(delta, every) {
        match install(&repo, bytes, verifier).await {
            Err(_) => {
                tally.refused += 1;
                // Looked at all the time, it would take all the time.
                if tally.refused % 16 == 0 {
                    assert_eq!(objects(&repo).await, before, "bit {bit}");
                }
            }
            Ok(()) => {
                tally.harmless += 1;
                let found = objects(&repo).await;
                // All that should come; of what nobody signed also the same bytes as another kind of
                // object, which nothing names.
                assert!(found.is_superset(&after), "bit {bit}: {found:?}");
                assert!(verifier.is_none() || found == after, "bit {bit}: {found:?}");
                repo = scene.repo(held).await;
            }
        }
    }
    assert_eq!(objects(&repo).await, before);
    tally
}

async fn flip_bundle(every: usize) -> Tally {
    let scene = Scene::new(45_000);
    let bundle = scene.delta(None, true).await;
    assert!(bundle.len() <= BUNDLE_BYTES_MAX, "{}", bundle.len());
    assert!(bundle.len() > BUNDLE_BYTES_MAX / 10 * 9, "{}", bundle.len());
    let verifier = trusting();
    let tally = flip_delta(&scene, &[], &bundle, Some(&verifier), every).await;
    // Only what is about the signatures is not under them.
    assert!(tally.harmless * 1000 < tally.total(), "{tally:?}");
    tally
}

async fn flip_unsigned(every: usize) -> Tally {
    let scene = Scene::new(34_000);
    let delta = scene.delta(Some(scene.old), false).await;
    let tally = flip_delta(&scene, &[scene.old], &delta, None, every).await;
    // Times, and sizes that are only told.
    assert!(tally.harmless * 20 < tally.total(), "{tally:?}");
    tally
}

/// A summary with `main` and many other refs.
fn summary(main: Checksum) -> Bytes {
    let mut refs: Vec<_> = (0..430)
        .map(|number| SummaryRef {
            name: format!("branch/{number:04}"),
            commit_bytes: 200,
            commit: Checksum::of(&[number as u8]),
            metadata: Dict::new(),
        })
        .collect();
    refs.push(SummaryRef {
        name: "main".to_owned(),
        commit_bytes: 200,
        commit: main,
        metadata: Dict::new(),
    });
    let metadata = Dict::new();
    Summary { refs, metadata }.to_bytes().into()
}

/// Signatures over `data`: by many keys, of which one is trusted.
fn signatures(data: &[u8]) -> Bytes {
    let mut signatures = Dict::new();
    for seed in 0..24 {
        let signature = Ed25519SecretKey::from_seed(&[seed; 32]).sign(data);
        add_signature(&mut signatures, Scheme::Ed25519, signature.to_vec()).unwrap();
    }
    signatures.encode().into()
}

/// What a pull accepts is pulled, and what comes is what it should be.
async fn pull_flipped(scene: &Scene, source: &Repo, signed: SignedSummary) {
    source.state().write_summary(Some(signed)).await.unwrap();
    let mut options = PullOptions::default();
    options.refs = vec![PullRef {
        branch: Some("main".parse().unwrap()),
        commit: None,
    }];
    options.verify = VerifyPolicy::default();
    options.verify.summary = Trust::Signed(trusting());
    options.verify.now_secs = Some(NOW_SECS);
    let repo = memory_repo();
    let pulled = pull(&repo, &PullSource::from(source.clone()), &options).await;
    assert_eq!(pulled.unwrap().refs[0].now, scene.new);
}

/// Flips bits of a signed summary, or of its signatures.
async fn flip_summary(of_summary: bool, every: usize) -> Tally {
    let scene = Scene::new(100);
    let source = scene.repo(&[scene.new]).await;
    let summary = summary(scene.new);
    let signature = signatures(&summary);
    let signed = SignedSummary {
        summary,
        signature: Some(signature.clone()),
    };
    let verifier = trusting();
    pull_flipped(&scene, &source, signed.clone()).await;
    let bytes = match of_summary {
        true => &signed.summary,
        false => &signature,
    };
    let mut tally = Tally::default();
    for (bit, bytes) in flipped(bytes, every) {
        let flipped = match of_summary {
            true => SignedSummary {
                summary: bytes,
                ..signed.clone()
            },
            false => SignedSummary {
                signature: Some(bytes),
                ..signed.clone()
            },
        };
        // What a pull asks of it before it reads a word.
        let beside = flipped.signature.as_deref();
        match require(&*verifier, &flipped.summary, beside, Some(NOW_SECS)) {
            Err(_) => tally.refused += 1,
            Ok(_) => {
                assert!(!of_summary, "bit {bit} of the summary is not signed");
                tally.harmless += 1;
                if tally.harmless % 16 == 1 {
                    pull_flipped(&scene, &source, flipped).await;
                }
            }
        }
    }
    tally
}

async fn flip_all(every: usize) -> [(&'static str, Tally); 4] {
    let tallies = [
        ("bundle", flip_bundle(every).await),
        ("delta", flip_unsigned(every).await),
        ("summary", flip_summary(true, every).await),
        ("signature", flip_summary(false, every).await),
    ];
    for (what, tally) in &tallies {
        println!("{what}: {tally:?}");
    }
    tallies
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_harmless() {
    let tallies = flip_all(101).await;
    assert!(tallies.iter().all(|(_, tally)| tally.refused > 0));
}

#[tokio::test]
#[ignore = "takes minutes: every bit of the same"]
async fn a_million_flipped_bits_are_refused_or_harmless() {
    let tallies = flip_all(1).await;
    let total: usize = tallies.iter().map(|(_, tally)| tally.total()).sum();
    println!("{total} flips");
    assert!(total >= 1_000_000, "{total}");
}
