//! Files that are longer than the caller accepts.

use treeferry_core::transport::{FetchOptions, Fetched, RemotePath, Resume, Transport};
use treeferry_core::{Error, ErrorKind};

use super::Here;
use super::whole::pattern;
use crate::transport::{drain, path, read, read_with, wait_to_change};
use crate::{Failed, Outcome};

fn at_most(bytes_max: u64) -> FetchOptions {
    FetchOptions {
        bytes_max: Some(bytes_max),
        ..FetchOptions::default()
    }
}

pub(super) async fn a_file_at_the_limit_is_fetched(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [0, 1, 65_536, 100_001] {
        let path = path(&format!("limits/{length}"))?;
        place.publish(&path, pattern(length, 1)).await?;
        let found = read_with(&*remote, &path, at_most(length as u64)).await?;
        ensure!(found.bytes == pattern(length, 1), "{path}: not the whole file");
    }
    Ok(())
}

/// Fetches until the end or an error, and returns how many bytes came.
async fn fetch(
    remote: &dyn Transport,
    path: &RemotePath,
    options: FetchOptions,
) -> Result<(u64, Result<(), Error>), Failed> {
    match remote.fetch(path, options).await {
        Err(error) => Ok((0, Err(error))),
        Ok(Some(Fetched::File(file))) => {
            let offset = file.offset;
            let (bytes, end) = drain(file).await;
            Ok((offset + bytes.len() as u64, end))
        }
        Ok(answer) => Err(Failed::new(format!("{path}: answered with {answer:?}"))),
    }
}

pub(super) async fn a_file_over_the_limit_is_refused(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for (length, limit) in [(1, 0), (100, 99), (200_000, 65_536), (200_000, 199_999)] {
        let path = path(&format!("limits/{length}"))?;
        place.publish(&path, pattern(length, 1)).await?;
        let (came, end) = fetch(&*remote, &path, at_most(limit)).await?;
        ensure!(came <= limit, "{came} bytes came, the limit was {limit}");
        ensure_refused!(end, ErrorKind::Corrupt, "{length} bytes where {limit} are the limit");
    }
    Ok(())
}

pub(super) async fn the_limit_is_of_the_whole_file(place: Here<'_>) -> Outcome {
    const LENGTH: usize = 100_000;
    let (remote, path) = (place.open().await?, path("limits/resumed")?);
    place.publish(&path, pattern(LENGTH, 1)).await?;
    wait_to_change(place.profile()).await;
    let Some(validator) = read(&*remote, &path).await?.validator else {
        return Ok(());
    };
    let resume = Resume {
        offset: LENGTH as u64 - 10,
        validator,
    };
    let options = |limit| FetchOptions {
        resume: Some(resume.clone()),
        ..at_most(limit)
    };
    // The rest is short, the file is not.
    let (came, end) = fetch(&*remote, &path, options(LENGTH as u64 - 1)).await?;
    ensure!(came < LENGTH as u64, "as many as {came} bytes came");
    ensure_refused!(end, ErrorKind::Corrupt, "the rest of a file that is over the limit");
    let (came, end) = fetch(&*remote, &path, options(LENGTH as u64)).await?;
    end?;
    ensure_eq!(came, LENGTH as u64, "the bytes of a file at the limit");
    Ok(())
}
