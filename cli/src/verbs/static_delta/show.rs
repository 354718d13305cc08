//! `static-delta show`: what a delta consists of.

use std::io::Write;
use std::path::Path;

use serde_json::{Value as Json, json};
use treeferry_core::format::delta::Endianness;
use treeferry_core::ops::delta::{ApplyBudget, OpenDelta, PartContents, inspect_part};
use treeferry_core::pool::Pool;

use super::name_of;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::verbs::size_text::size_text;
use crate::{delta_budget, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// FROM-TO, or TO alone; or the path of a delta that is a file or a directory
    #[arg(value_name = "DELTA")]
    delta: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let (delta, budget, pool) = open(args.delta.as_deref(), session).await?;
    let parts = contents(&delta, &budget, &pool).await?;
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{}", json_of(&delta, &parts))?,
        false => describe(&mut out, &delta, &parts)?,
    }
    Ok(out.flush()?)
}

/// Opens a delta of the repository by its name, or one that is a file or a directory by its path.
pub(super) async fn open(
    delta: Option<&str>,
    session: &Session,
) -> Result<(OpenDelta, ApplyBudget, Pool)> {
    let path = delta.map(Path::new);
    if let Some(path) = path.filter(|path| name_of(delta).is_err() && path.exists()) {
        let (budget, pool) = (delta_budget::to_look(), Pool::default());
        let (path, look, opener) = (path.to_owned(), budget.clone(), pool.clone());
        let open = move || OpenDelta::open_path(&path, &look, &opener);
        return Ok((pool.run(open).await?, budget, pool));
    }
    let name = name_of(delta)?;
    let opened = session.open_place().await?;
    let budget = delta_budget::to_apply(&opened);
    let found = OpenDelta::open_kept(&opened.repo, &name, &budget).await?;
    let missing = || Failure::new(format!("Can't find delta {name}"));
    let pool = opened.repo.pool().clone();
    Ok((found.ok_or_else(missing)?, budget, pool))
}

async fn contents(
    delta: &OpenDelta,
    budget: &ApplyBudget,
    pool: &Pool,
) -> Result<Vec<PartContents>> {
    let mut parts = Vec::with_capacity(delta.superblock.parts.len());
    for number in 0..delta.superblock.parts.len() {
        parts.push(inspect_part(delta, number, budget, pool).await?);
    }
    Ok(parts)
}

/// Prints what a delta consists of; `parts` may be empty.
pub(crate) fn describe(
    out: &mut impl Write,
    delta: &OpenDelta,
    parts: &[PartContents],
) -> Result<()> {
    let superblock = &delta.superblock;
    let name = &superblock.name;
    let signed = if delta.signatures.is_some() {
        "yes"
    } else {
        "no"
    };
    writeln!(out, "Delta: {name}\nSigned: {signed}")?;
    match &name.from {
        Some(from) => writeln!(out, "From: {from}")?,
        None => writeln!(out, "From <scratch>")?,
    }
    let order = match superblock.endianness {
        Endianness::Little => "little",
        Endianness::Big => "big",
    };
    // Those that were made before deltas said so: it was told by the sizes that make sense.
    let is_said = superblock
        .metadata
        .iter()
        .any(|(key, _)| key == Endianness::KEY);
    let guessed = if is_said { "" } else { " (heuristic)" };
    writeln!(out, "To: {}\nEndianness: {order}{guessed}", name.to)?;
    writeln!(out, "Timestamp: {}", superblock.timestamp)?;
    writeln!(
        out,
        "Number of parents: {}",
        superblock.dependencies.len() / 64
    )?;
    let fallbacks = &superblock.fallbacks;
    writeln!(out, "Number of fallback entries: {}", fallbacks.len())?;
    let (stored, unpacked) = (fallback_stored(delta), fallback_unpacked(delta));
    writeln!(out, "Total Fallback Size: {}", total(stored))?;
    writeln!(out, "Total Fallback Uncompressed Size: {}", total(unpacked))?;
    writeln!(out, "Number of parts: {}", superblock.parts.len())?;
    for (number, header) in superblock.parts.iter().enumerate() {
        writeln!(
            out,
            "PartMeta{number}: nobjects={} size={} usize={}",
            header.objects.len(),
            header.stored_bytes,
            header.unpacked_bytes
        )?;
        if let Some(part) = parts.get(number) {
            describe_part(out, number, part)?;
        }
    }
    let (part_bytes, part_unpacked) = (superblock.stored_bytes(), part_unpacked(delta));
    writeln!(out, "Total Part Size: {}", total(part_bytes))?;
    writeln!(
        out,
        "Total Part Uncompressed Size: {}",
        total(part_unpacked)
    )?;
    let (all, all_unpacked) = (
        part_bytes.saturating_add(stored),
        part_unpacked.saturating_add(unpacked),
    );
    writeln!(out, "Total Size: {}", total(all))?;
    writeln!(out, "Total Uncompressed Size: {}", total(all_unpacked))?;
    Ok(())
}

fn describe_part(out: &mut impl Write, number: usize, part: &PartContents) -> Result<()> {
    writeln!(
        out,
        "PartPayload{number}: nmodes={} nxattrs={} blobsize={} opsize={}",
        part.modes, part.xattrs, part.heap_bytes, part.ops_bytes
    )?;
    writeln!(
        out,
        "PartPayloadOps{number}: openspliceclose={} open={} write={} setread={} unsetread={} \
         close={} bspatch={}",
        part.splices, part.opens, part.writes, part.sets, part.unsets, part.closes, part.patches
    )?;
    Ok(())
}

fn total(bytes: u64) -> String {
    format!("{bytes} ({})", size_text(bytes))
}

fn fallback_stored(delta: &OpenDelta) -> u64 {
    let sizes = delta.superblock.fallbacks.iter().map(|f| f.stored_bytes);
    sizes.fold(0, u64::saturating_add)
}

fn fallback_unpacked(delta: &OpenDelta) -> u64 {
    let sizes = delta.superblock.fallbacks.iter().map(|f| f.unpacked_bytes);
    sizes.fold(0, u64::saturating_add)
}

fn part_unpacked(delta: &OpenDelta) -> u64 {
    let sizes = delta.superblock.parts.iter().map(|p| p.unpacked_bytes);
    sizes.fold(0, u64::saturating_add)
}

/// Returns what a delta consists of as JSON.
pub(crate) fn json_of(delta: &OpenDelta, parts: &[PartContents]) -> Json {
    let superblock = &delta.superblock;
    let headers = superblock.parts.iter().enumerate().map(|(number, header)| {
        let part = parts.get(number);
        json!({
            "checksum": header.checksum.to_string(),
            "objects": header.objects.len(),
            "bytes": header.stored_bytes,
            "unpacked_bytes": header.unpacked_bytes,
            "inline": superblock.inline(number).is_some(),
            "patches": part.map(|part| part.patches),
            "splices": part.map(|part| part.splices),
            "copied": part.map(|part| part.closes - part.patches.min(part.closes)),
        })
    });
    json!({
        "name": superblock.name.to_string(),
        "from": superblock.name.from.map(|from| from.to_string()),
        "to": superblock.name.to.to_string(),
        "signed": delta.signatures.is_some(),
        "timestamp": superblock.timestamp,
        "endianness": char::from(superblock.endianness.letter()).to_string(),
        "parts": headers.collect::<Vec<_>>(),
        "part_bytes": superblock.stored_bytes(),
        "part_unpacked_bytes": part_unpacked(delta),
        "fallbacks": superblock.fallbacks.len(),
        "fallback_bytes": fallback_stored(delta),
        "fallback_unpacked_bytes": fallback_unpacked(delta),
    })
}
