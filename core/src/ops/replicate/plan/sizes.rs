//! How long the missing files are: at their source, and where they will be written.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::{EstimatedFrom, ExactFrom, ReplicatePlan, SizeEffort};
use crate::error::{ErrorKind, Result};
use crate::format::{Checksum, ObjectName, ObjectSize};
use crate::ops::replicate::engine::Engine;
use crate::ops::replicate::fetch::{Fetcher, Head};
use crate::pool::Pool;
use crate::store::{Encoding, LocalContent, LocalObjects, Stat};

/// How many files of unknown length are looked at to estimate the others.
const SAMPLE_FILES_MAX: usize = 16;

/// Adds up lengths, and remembers the files of which nothing is known.
#[derive(Debug)]
pub(super) struct Sizes {
    effort: SizeEffort,
    unknown: Vec<Checksum>,
}

/// A file of a source on this machine.
struct LocalSize {
    content_bytes: u64,
    /// Where that is known from.
    from: ExactFrom,
}

impl Sizes {
    pub(super) fn new(effort: SizeEffort) -> Self {
        Self {
            effort,
            unknown: Vec::new(),
        }
    }

    /// Adds missing files, of which their commits announced `announced`.
    pub(super) async fn add(
        &mut self,
        engine: &Engine<'_>,
        plan: &mut ReplicatePlan,
        files: Vec<Checksum>,
        announced: Vec<Option<ObjectSize>>,
    ) -> Result<()> {
        let mut rest: Vec<_> = files.into_iter().zip(announced).collect();
        for fetcher in engine.fetchers {
            let Some(local) = fetcher.source.local() else {
                continue;
            };
            let stats = stat(fetcher, &rest).await?.unwrap_or_default();
            let (mut found, mut absent) = (Vec::new(), Vec::new());
            for (file, stat) in rest.into_iter().zip(stats) {
                match stat {
                    Some(stat) => found.push((file.0, stat)),
                    None => absent.push(file),
                }
            }
            rest = absent;
            add_local(engine, plan, local, found).await?;
        }
        for fetcher in engine.remotes() {
            let Some(stats) = stat(fetcher, &rest).await? else {
                // Whoever cannot list is asked for what is left, and says if it has it not.
                return self.add_unlisted(fetcher, engine, plan, rest).await;
            };
            let mut absent = Vec::new();
            let mut found = Vec::new();
            for (file, stat) in rest.into_iter().zip(stats) {
                match stat {
                    Some(stat) => found.push((file.0, file.1, stat)),
                    None => absent.push(file),
                }
            }
            self.add_listed(fetcher, engine, plan, found).await?;
            rest = absent;
        }
        match rest.first() {
            None => Ok(()),
            Some((file, _)) => Err(engine.missing(ObjectName::file(*file))),
        }
    }

    /// Adds files whose lengths at a remote are known.
    async fn add_listed(
        &self,
        fetcher: &Fetcher,
        engine: &Engine<'_>,
        plan: &mut ReplicatePlan,
        files: Vec<(Checksum, Option<ObjectSize>, Stat)>,
    ) -> Result<()> {
        let mut unsized_files = Vec::new();
        for (file, announced, stat) in files {
            let kept = fetcher.kept_bytes(&ObjectName::file(file)).await?;
            let coming = stat.stored_bytes.saturating_sub(kept);
            plan.transfer.add_exact(coming, ExactFrom::Listing);
            match (engine.destination.objects().encoding(), stat.encoding) {
                (Encoding::Filez, Encoding::Filez) | (Encoding::Canonical, Encoding::Canonical) => {
                    plan.write.add_exact(stat.stored_bytes, ExactFrom::Listing);
                }
                (Encoding::Filez, Encoding::Canonical) => {
                    let from = EstimatedFrom::UnpackedLength;
                    plan.write.add_estimate(stat.stored_bytes, from);
                }
                (Encoding::Canonical, Encoding::Filez) => match announced {
                    _ if self.effort == SizeEffort::ReadHeaders => unsized_files.push(file),
                    Some(size) => plan
                        .write
                        .add_exact(size.unpacked_bytes, ExactFrom::Announced),
                    None => plan
                        .write
                        .add_estimate(stat.stored_bytes, EstimatedFrom::PackedLength),
                },
            }
        }
        for (_, head) in heads(fetcher, engine, unsized_files).await? {
            plan.write.add_exact(head.content_bytes, ExactFrom::Headers);
        }
        Ok(())
    }

    /// Adds files of a remote that cannot be asked for their lengths.
    async fn add_unlisted(
        &mut self,
        fetcher: &Fetcher,
        engine: &Engine<'_>,
        plan: &mut ReplicatePlan,
        files: Vec<(Checksum, Option<ObjectSize>)>,
    ) -> Result<()> {
        if self.effort == SizeEffort::ReadHeaders {
            let files = files.into_iter().map(|(file, _)| file).collect();
            for (file, head) in heads(fetcher, engine, files).await? {
                let kept = fetcher.kept_bytes(&ObjectName::file(file)).await?;
                add_head(engine, plan, &head, kept);
            }
            return Ok(());
        }
        for (file, announced) in files {
            let Some(size) = announced else {
                self.unknown.push(file);
                continue;
            };
            let kept = fetcher.kept_bytes(&ObjectName::file(file)).await?;
            let coming = size.archived_bytes.saturating_sub(kept);
            plan.transfer.add_exact(coming, ExactFrom::Announced);
            let written = match engine.destination.objects().encoding() {
                Encoding::Filez => size.archived_bytes,
                Encoding::Canonical => size.unpacked_bytes,
            };
            plan.write.add_exact(written, ExactFrom::Announced);
        }
        Ok(())
    }

    /// Estimates what is not known from a sample of it.
    pub(super) async fn finish(self, engine: &Engine<'_>, plan: &mut ReplicatePlan) -> Result<()> {
        let count = self.unknown.len();
        let Some(fetcher) = engine.remotes().next().filter(|_| count > 0) else {
            return Ok(());
        };
        let step = count.div_ceil(SAMPLE_FILES_MAX);
        let sample: Vec<_> = self.unknown.iter().step_by(step).copied().collect();
        let looked_at = sample.len() as u64;
        let mut of_sample = ReplicatePlan::default();
        for (_, head) in heads(fetcher, engine, sample).await? {
            add_head(engine, &mut of_sample, &head, 0);
        }
        let scaled = |bytes: u64| bytes.saturating_mul(count as u64) / looked_at.max(1);
        let transfer = scaled(of_sample.transfer.total_bytes());
        plan.transfer.add_estimate(transfer, EstimatedFrom::Sample);
        let write = scaled(of_sample.write.total_bytes());
        plan.write.add_estimate(write, EstimatedFrom::Sample);
        Ok(())
    }
}

/// Asks a source for what it knows of files; `None` where it cannot be asked.
async fn stat(
    fetcher: &Fetcher,
    files: &[(Checksum, Option<ObjectSize>)],
) -> Result<Option<Vec<Option<Stat>>>> {
    let names: Vec<_> = files
        .iter()
        .map(|(file, _)| ObjectName::file(*file))
        .collect();
    match fetcher.source.stat(&names).await {
        Ok(stats) => Ok(Some(stats)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds files of a source on this machine: nothing of them comes over a transport.
async fn add_local(
    engine: &Engine<'_>,
    plan: &mut ReplicatePlan,
    local: Arc<dyn LocalObjects>,
    files: Vec<(Checksum, Stat)>,
) -> Result<()> {
    let to_archive = engine.destination.objects().encoding() == Encoding::Filez;
    let mut opened = Vec::with_capacity(files.len());
    for (file, stat) in files {
        match (to_archive, stat.encoding) {
            (true, Encoding::Filez) => {
                plan.write.add_exact(stat.stored_bytes, ExactFrom::Listing);
            }
            _ => opened.push(file),
        }
    }
    let pool = engine.destination.pool();
    for size in local_sizes(pool, local, opened).await? {
        match to_archive {
            true => plan
                .write
                .add_estimate(size.content_bytes, EstimatedFrom::UnpackedLength),
            false => plan.write.add_exact(size.content_bytes, size.from),
        }
    }
    Ok(())
}

/// Opens files, which says how long their content is: a matter of microseconds each.
async fn local_sizes(
    pool: &Pool,
    local: Arc<dyn LocalObjects>,
    files: Vec<Checksum>,
) -> Result<Vec<LocalSize>> {
    pool.run(move || {
        let mut sizes = Vec::with_capacity(files.len());
        for file in files {
            let name = ObjectName::file(file);
            let object = local.open_file(&file).map_err(|e| e.about(name))?;
            let Some(object) = object else { continue };
            sizes.push(LocalSize {
                content_bytes: object.content_bytes,
                from: match object.content {
                    LocalContent::Filez(_) => ExactFrom::Headers,
                    LocalContent::Plain(_) | LocalContent::None => ExactFrom::Listing,
                },
            });
        }
        Ok(sizes)
    })
    .await
}

fn add_head(engine: &Engine<'_>, plan: &mut ReplicatePlan, head: &Head, kept_bytes: u64) {
    let packed = head.stored_bytes;
    match packed {
        Some(bytes) => plan
            .transfer
            .add_exact(bytes.saturating_sub(kept_bytes), ExactFrom::Headers),
        // A server that does not say how long its answer is.
        None => plan
            .transfer
            .add_estimate(head.content_bytes, EstimatedFrom::UnpackedLength),
    }
    match (engine.destination.objects().encoding(), packed) {
        (Encoding::Canonical, _) => plan.write.add_exact(head.content_bytes, ExactFrom::Headers),
        (Encoding::Filez, Some(bytes)) => plan.write.add_exact(bytes, ExactFrom::Headers),
        (Encoding::Filez, None) => plan
            .write
            .add_estimate(head.content_bytes, EstimatedFrom::UnpackedLength),
    }
}

/// Reads the headers of files, many at once.
async fn heads(
    fetcher: &Fetcher,
    engine: &Engine<'_>,
    files: Vec<Checksum>,
) -> Result<Vec<(Checksum, Head)>> {
    let unique: HashSet<_> = files.into_iter().collect();
    let heads = unique.into_iter().map(|file| async move {
        let name = ObjectName::file(file);
        match fetcher.head(&name).await? {
            Some(head) => Ok((file, head)),
            None => Err(engine.missing(name)),
        }
    });
    futures::stream::iter(heads)
        .buffer_unordered(engine.width().max(1))
        .try_collect()
        .await
}
