//! `bundle show`: what a bundle is, who signed it, and what it needs.

use std::io::Write;
use std::path::PathBuf;

use treeferry_core::format::Commit;
use treeferry_core::ops::delta::{BundleInfo, OpenDelta, verify};
use treeferry_core::pool::Pool;
use treeferry_core::sign::{Outcome, Scheme, Signatures, Verdict, signatures_in};

use super::{open, path_of};
use crate::failure::Result;
use crate::session::Session;
use crate::verbs::size_text::size_text;
use crate::verbs::static_delta::{Trusting, json_of};
use crate::{dates, delta_budget, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trusting: Trusting,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Read up to N megabytes from a pipe (default: 8000)
    #[arg(long, value_name = "N")]
    max_size: Option<u64>,
    /// The bundle; - for standard input
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Public keys, in base64
    #[arg(value_name = "[KEY...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, _: &Session) -> Result<()> {
    let path = path_of(args.path)?;
    let (pool, budget) = (Pool::default(), delta_budget::to_look());
    let (delta, info) = open(&path, args.max_size, &budget, &pool).await?;
    let verifier = args.trusting.verifier(&args.keys)?;
    let now = Some(dates::now());
    let verdict = verify(&delta, &verifier, now, &pool).await?;
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{}", json(&delta, &info, &verdict))?,
        false => print(&mut out, &delta, &info, &verdict)?,
    }
    Ok(out.flush()?)
}

fn print(
    out: &mut impl Write,
    delta: &OpenDelta,
    info: &BundleInfo,
    verdict: &Verdict,
) -> Result<()> {
    let superblock = &delta.superblock;
    let refs: Vec<_> = info.refs.iter().map(ToString::to_string).collect();
    writeln!(out, "Refs: {}", refs.join(" "))?;
    if let Some(id) = &info.collection_id {
        writeln!(out, "Collection: {id}")?;
    }
    if let Some(target) = &info.target {
        writeln!(out, "Target: {target}")?;
    }
    writeln!(out, "Commit: {}", superblock.name.to)?;
    let commit = Commit::parse(&superblock.commit)?;
    if !commit.subject.is_empty() {
        writeln!(out, "Subject: {}", commit.subject)?;
    }
    match &superblock.name.from {
        Some(from) => writeln!(out, "Needs: {from}")?,
        None => writeln!(out, "Needs: nothing")?,
    }
    let objects: usize = superblock.parts.iter().map(|p| p.objects.len()).sum();
    let unpacked = superblock.parts.iter().map(|p| p.unpacked_bytes);
    let unpacked = unpacked.fold(0, u64::saturating_add);
    writeln!(
        out,
        "Size: {} in {} parts, for {objects} objects of {}",
        size_text(superblock.stored_bytes()),
        superblock.parts.len(),
        size_text(unpacked)
    )?;
    for scheme in [Scheme::Ed25519, Scheme::Spki, Scheme::Dummy] {
        if let Signatures::Some(list) = signatures(delta, scheme) {
            writeln!(out, "Signatures: {} ({})", list.len(), scheme.name())?;
        }
    }
    for checked in &verdict.checked {
        writeln!(out, "Signature: {checked}")?;
    }
    match &verdict.outcome {
        Outcome::Accepted => writeln!(out, "Verified: yes")?,
        Outcome::Refused(_) if delta.signatures.is_none() => {
            writeln!(out, "Verified: no, it is not signed")?
        }
        Outcome::Refused(_) => match verdict.clone().into_result() {
            Err(error) => writeln!(out, "Verified: no: {error}")?,
            Ok(_) => writeln!(out, "Verified: no")?,
        },
    }
    Ok(())
}

fn signatures(delta: &OpenDelta, scheme: Scheme) -> Signatures<'_> {
    match &delta.signatures {
        Some(dict) => signatures_in(dict, scheme),
        None => Signatures::None,
    }
}

fn json(delta: &OpenDelta, info: &BundleInfo, verdict: &Verdict) -> serde_json::Value {
    let refs: Vec<_> = info.refs.iter().map(ToString::to_string).collect();
    let checked: Vec<_> = verdict.checked.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "refs": refs,
        "collection_id": info.collection_id.as_ref().map(ToString::to_string),
        "target": info.target,
        "verified": verdict.is_accepted(),
        "signatures": checked,
        "delta": json_of(delta, &[]),
    })
}
