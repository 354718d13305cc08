//! `static-delta generate`: makes a delta.

use std::path::PathBuf;

use treeferry_core::format::delta::{DeltaName, Endianness};
use treeferry_core::ops::delta::{
    Destination, GenerateReport, MakeOptions, PartsIn, kept_deltas, make, parent_of,
};
use treeferry_core::repo::Repo;

use crate::failure::{Failure, Result};
use crate::keys;
use crate::place::Opened;
use crate::session::{Name, Session, resolve};
use crate::verbs::size_text::size_text;
use crate::{delta_budget, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The commit that must be there to apply it (default: the parent of TO)
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// From nothing: all that TO consists of
    #[arg(long)]
    empty: bool,
    /// Put all parts into one file
    #[arg(long)]
    inline: bool,
    /// The commit that it makes
    #[arg(long = "to", value_name = "REV")]
    to: Option<String>,
    #[command(flatten)]
    making: Making,
    /// Do nothing if there is such a delta
    #[arg(short = 'n', long)]
    if_not_exists: bool,
    /// The order of bytes: l (little) or B (big)
    #[arg(long, value_name = "ENDIAN")]
    set_endianness: Option<String>,
    /// The order of bytes that is not this machine's
    #[arg(long)]
    swap_endianness: bool,
    /// Write it to the file PATH, parts beside it, and not into the repository
    #[arg(long, value_name = "PATH")]
    filename: Option<PathBuf>,
    /// The commit that it makes
    #[arg(value_name = "TO")]
    target: Option<String>,
}

/// The options that say how a delta is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Making {
    /// Make no patches, only copies
    #[arg(long)]
    disable_bsdiff: bool,
    /// Leave files out that are at least N megabytes long and new, 0 for none (default: 4)
    #[arg(long, value_name = "N")]
    pub(crate) min_fallback_size: Option<u64>,
    /// Make patches up to N megabytes of old and new file together (default: 128)
    #[arg(long, value_name = "N")]
    max_bsdiff_size: Option<u64>,
    /// Make parts of up to N megabytes, unpacked (default: 32)
    #[arg(long, value_name = "N")]
    max_chunk_size: Option<u64>,
    /// Use up to about N megabytes of memory (default: 420)
    #[arg(long, value_name = "N")]
    memory: Option<u64>,
    /// How hard to compress, 1 (fast) to 9 (small)
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=9))]
    level: Option<u8>,
    /// Sign with this secret key; can be repeated
    #[arg(long, value_name = "KEY")]
    sign: Vec<String>,
    /// Sign with the secret keys in a file
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// The type of signature: ed25519 or spki (default: ed25519)
    #[arg(long, value_name = "NAME")]
    sign_type: Option<String>,
}

impl Making {
    /// Returns the options of the library that these are.
    pub(crate) fn options(&self) -> Result<MakeOptions> {
        const MEGA: u64 = 1_000_000;
        let mut options = MakeOptions::default();
        options.generate = delta_budget::to_make();
        let generate = &mut options.generate;
        if let Some(n) = self.min_fallback_size {
            generate.fallback_bytes_min = (n > 0).then(|| n.saturating_mul(MEGA));
        }
        if let Some(n) = self.max_bsdiff_size {
            generate.patch_bytes_max = n.saturating_mul(MEGA);
        }
        if self.disable_bsdiff {
            generate.patch_bytes_max = 0;
        }
        if let Some(n) = self.max_chunk_size {
            generate.part_bytes_max = n.max(1).saturating_mul(MEGA);
        }
        if let Some(n) = self.memory {
            generate.memory_bytes_max = n.saturating_mul(MEGA);
        }
        if let Some(level) = self.level {
            generate.level = level;
        }
        let scheme = keys::scheme(self.sign_type.as_deref())?;
        let signers = self.sign.iter().map(|key| keys::signer(scheme, key));
        options.signers = signers.collect::<Result<_>>()?;
        if let Some(path) = &self.keys_file {
            options.signers.extend(keys::signers_of_file(scheme, path)?);
        }
        Ok(options)
    }
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    if args.empty && args.from.is_some() {
        return Err(Failure::new("Cannot specify both --empty and --from=REV"));
    }
    if args.set_endianness.is_some() && args.swap_endianness {
        let message = "Specify only one of --swap-endianness and --set-endianness";
        return Err(Failure::new(message));
    }
    let mut options = args.making.options()?;
    options.generate.endianness = endianness(&args)?;
    let opened = session.open_place().await?;
    let repo = &opened.repo;
    let name = name(&args, repo).await?;
    if args.if_not_exists && kept_deltas(repo).await?.contains(&name) {
        return Ok(output::line(format!("Delta {name} already exists."))?);
    }
    if let Some(path) = &args.filename {
        options.to = Destination::File(path.clone());
    }
    if args.inline {
        options.parts = PartsIn::Superblock(delta_budget::spill_place(&opened));
    }
    let from = name
        .from
        .map_or("empty".to_owned(), |from| from.to_string());
    output::line(format!(
        "Generating static delta:\n  From: {from}\n  To:   {}",
        name.to
    ))?;
    let report = make(repo, &name, &options).await?;
    print_report(session, &report)
}

/// Prints what was made; by the name of `ostree` to standard error, and in its words.
pub(crate) fn print_report(session: &Session, report: &GenerateReport) -> Result<()> {
    if session.quiet {
        return Ok(());
    }
    if session.name == Name::Ostree {
        eprintln!(
            "uncompressed={} compressed={} loose={}\nrollsum={} objects\nbsdiff={} objects",
            report.unpacked_bytes, report.part_bytes, report.whole, report.copied, report.patched
        );
        return Ok(());
    }
    Ok(output::line(format!(
        "{} in parts, for {} of objects: {} metadata; files: {} patched, {} of copies, {} whole, \
         {} left out",
        size_text(report.part_bytes),
        size_text(report.unpacked_bytes),
        report.metadata,
        report.patched,
        report.copied,
        report.whole,
        report.fallbacks
    ))?)
}

fn endianness(args: &Args) -> Result<Endianness> {
    let native = match cfg!(target_endian = "big") {
        true => Endianness::Big,
        false => Endianness::Little,
    };
    Ok(match args.set_endianness.as_deref() {
        Some("l") => Endianness::Little,
        Some("B") => Endianness::Big,
        Some(other) => {
            let message = format!("Invalid endianness '{other}'");
            return Err(Failure::new(message));
        }
        None if args.swap_endianness => native.swapped(),
        None => native,
    })
}

async fn name(args: &Args, repo: &Repo) -> Result<DeltaName> {
    let to = args.target.as_ref().or(args.to.as_ref());
    let to = to.ok_or_else(|| Failure::usage("TO revision must be specified"))?;
    let to = resolve(repo, to).await?;
    let from = match &args.from {
        _ if args.empty => None,
        Some(rev) => Some(resolve(repo, rev).await?),
        None => Some(parent_of(repo, &to).await?.ok_or_else(|| {
            Failure::new(format!(
                "Commit {to} has no parent: --empty makes a delta from nothing"
            ))
        })?),
    };
    Ok(DeltaName::new(from, to))
}

/// Returns the repository's own options for whoever makes more than a delta of it.
pub(crate) fn inside(opened: &Opened) -> PartsIn {
    PartsIn::Superblock(delta_budget::spill_place(opened))
}
