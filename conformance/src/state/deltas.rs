//! Files of deltas, and the indexes of deltas.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use treeferry_core::error::{Error, ErrorKind};
use treeferry_core::format::delta::{DeltaFile, DeltaName};
use treeferry_core::store::RepoState;
use treeferry_core::transport::PutBody;

use super::{Here, bytes, commit};
use crate::{Failed, Outcome};

fn delta(from: Option<u8>, to: u8) -> DeltaName {
    DeltaName::new(from.map(commit), commit(to))
}

/// Files of two deltas and an index, some with names alike.
fn files() -> [DeltaFile; 8] {
    let (full, empty) = (delta(Some(1), 2), delta(None, 2));
    [
        DeltaFile::Part(full, 0),
        DeltaFile::Part(full, 1),
        DeltaFile::Part(full, 10),
        DeltaFile::Part(empty, 0),
        DeltaFile::Meta(full),
        DeltaFile::Superblock(full),
        DeltaFile::Superblock(empty),
        DeltaFile::Index(commit(2)),
    ]
}

/// Bytes that are longer than any buffer, and nowhere the same.
fn long() -> Bytes {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    (0..700_001).flat_map(|_| next()).collect()
}

/// A body that comes in pieces of various lengths, and then says `end` if that is an error.
fn streamed(content: &Bytes, total_bytes: u64, end: Option<Error>) -> PutBody {
    let lengths = [1, 300_000, 7, 1_500_000].into_iter().cycle();
    let mut rest = content.clone();
    let mut pieces = Vec::new();
    for length in lengths {
        if rest.is_empty() {
            break;
        }
        pieces.push(Ok(rest.split_to(rest.len().min(length))));
    }
    pieces.extend(end.map(Err));
    PutBody::Stream {
        total_bytes,
        bytes: stream::iter(pieces).boxed(),
    }
}

async fn read(
    state: &dyn RepoState,
    file: &DeltaFile,
    offset: u64,
) -> Result<Option<Bytes>, Failed> {
    let Some(opened) = state.open_delta_file(file, offset).await? else {
        return Ok(None);
    };
    ensure_eq!(opened.offset, offset, "where it starts");
    let total_bytes = opened.total_bytes;
    let rest = opened.collect(u64::MAX).await?;
    ensure_eq!(total_bytes, Some(offset + rest.len() as u64), "its length");
    Ok(Some(rest))
}

async fn listed(state: &dyn RepoState) -> Result<BTreeMap<DeltaFile, u64>, Failed> {
    let listed = state.list_delta_files().await?;
    let count = listed.len();
    let map: BTreeMap<_, _> = listed.into_iter().map(|l| (l.file, l.bytes)).collect();
    ensure_eq!(map.len(), count, "the list names each once: number of names");
    Ok(map)
}

pub(super) async fn files_of_deltas_come_back(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    for (number, file) in files().into_iter().enumerate() {
        ensure_eq!(read(&*state, &file, 0).await?, None, "{file} at first");
        let content = Bytes::from(format!("content of number {number}"));
        state.write_delta_file(&file, PutBody::Bytes(content)).await?;
    }
    for (number, file) in files().into_iter().enumerate() {
        let content = Bytes::from(format!("content of number {number}"));
        for handle in [&state, &place.open().await?] {
            let found = read(&**handle, &file, 0).await?;
            ensure_eq!(found, Some(content.clone()), "{file}");
        }
    }
    Ok(())
}

pub(super) async fn a_file_of_a_delta_is_replaced(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let file = files()[0];
    for content in [long(), bytes("short"), Bytes::new(), bytes("again")] {
        let length = content.len() as u64;
        state.write_delta_file(&file, streamed(&content, length, None)).await?;
        ensure_eq!(read(&*state, &file, 0).await?, Some(content.clone()), "its bytes, streamed");
        ensure_eq!(listed(&*state).await?.get(&file), Some(&length), "its listed length");
        state.write_delta_file(&file, PutBody::Bytes(content.clone())).await?;
        ensure_eq!(read(&*state, &file, 0).await?, Some(content), "its bytes");
    }
    Ok(())
}

pub(super) async fn a_file_of_a_delta_is_read_from_any_byte(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let (file, content) = (files()[1], long());
    let length = content.len() as u64;
    state.write_delta_file(&file, streamed(&content, length, None)).await?;
    for offset in [0, 1, 262_143, 262_144, 1 << 20, length - 1, length] {
        let rest = content.slice(usize::try_from(offset).unwrap_or(0)..);
        let found = read(&*state, &file, offset).await?;
        ensure_eq!(found.map(|b| b == rest), Some(true), "what follows byte {offset}");
    }
    match state.open_delta_file(&file, length + 1).await {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
        answer => Err(Failed::new(format!("beyond the end: {answer:?}"))),
    }
}

pub(super) async fn a_file_of_a_delta_that_breaks_off_changes_nothing(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let (file, absent) = (files()[0], files()[1]);
    state.write_delta_file(&file, PutBody::Bytes(bytes("whole"))).await?;
    let content = long();
    let length = content.len() as u64;
    let broken = || Some(Error::corrupt("breaks off"));
    for (what, total_bytes, end) in [
        ("an error", length, broken()),
        ("too few bytes", length + 1, None),
        ("too many bytes", length - 1, None),
    ] {
        for file in [&file, &absent] {
            let error = match &end {
                Some(_) => broken(),
                None => None,
            };
            let answer = state.write_delta_file(file, streamed(&content, total_bytes, error)).await;
            ensure_eq!(answer.is_err(), true, "{what} is refused");
        }
        ensure_eq!(read(&*state, &file, 0).await?, Some(bytes("whole")), "after {what}");
        ensure_eq!(read(&*state, &absent, 0).await?, None, "after {what}");
        ensure_eq!(listed(&*state).await?.len(), 1, "the number of files after {what}");
    }
    Ok(())
}

pub(super) async fn files_of_deltas_are_listed_and_deleted(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let mut expected = BTreeMap::new();
    ensure_eq!(listed(&*state).await?, expected, "the list at first");
    for (length, file) in files().into_iter().enumerate() {
        let content = Bytes::from(vec![b'x'; length]);
        state.write_delta_file(&file, PutBody::Bytes(content)).await?;
        expected.insert(file, length as u64);
    }
    ensure_eq!(listed(&*state).await?, expected, "the list");
    let gone = [files()[0], files()[3], files()[6], DeltaFile::Index(commit(9))];
    state.delete_delta_files(&gone).await?;
    expected.retain(|file, _| !gone.contains(file));
    for handle in [&state, &place.open().await?] {
        ensure_eq!(listed(&**handle).await?, expected, "the list then");
        ensure_eq!(read(&**handle, &gone[0], 0).await?, None, "what was deleted");
    }
    state.delete_delta_files(&files()).await?;
    ensure_eq!(listed(&*state).await?, BTreeMap::new(), "the list at last");
    state.write_delta_file(&files()[0], PutBody::Bytes(bytes("back"))).await?;
    ensure_eq!(read(&*state, &files()[0], 0).await?, Some(bytes("back")), "what came again");
    Ok(())
}
