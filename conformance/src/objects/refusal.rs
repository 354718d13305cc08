//! What is not what it says leaves nothing.

use bytes::Bytes;
use treeferry_core::ErrorKind;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::{BatchOptions, Body, Incoming, Payload};

use super::{Here, ensure_has, ensure_lacks, list, only};
use crate::samples::{self, Parts, Sample};
use crate::{Failed, Outcome};

/// Puts one object that must be refused, and checks that nothing of it is left, also when the
/// batch is committed all the same.
async fn leaves_nothing(
    place: Here<'_>,
    name: ObjectName,
    incoming: Incoming,
) -> Result<treeferry_core::Error, Failed> {
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let good = samples::dirmeta(0o700);
    super::all_ok(batch.put(vec![good.incoming()]).await)?;
    let Err(error) = only(batch.put(vec![incoming]).await)? else {
        return Err(Failed::new(format!("a body that is not {name} was taken for it")));
    };
    ensure_lacks(&*batch, name).await?;
    batch.commit().await?;
    for handle in [&store, &place.open().await?] {
        ensure_lacks(&**handle, name).await?;
        ensure_eq!(list(&**handle, ObjectType::File).await?, vec![], "the files listed");
        ensure_has(&**handle, &good).await?;
    }
    Ok(error)
}

async fn is_corrupt(place: Here<'_>, name: ObjectName, incoming: Incoming) -> Outcome {
    let error = leaves_nothing(place, name, incoming).await?;
    ensure_eq!(error.kind(), ErrorKind::Corrupt, "the kind of the error '{error}'");
    Ok(())
}

fn small(place: Here<'_>) -> Sample {
    samples::file(place.profile().holds, "a file that something is wrong with")
}

fn large(place: Here<'_>) -> Sample {
    let header = samples::plain_header(place.profile().holds);
    Sample::file(header, samples::large_content().slice(..400_000))
}

fn filez_of(sample: &Sample) -> Vec<u8> {
    match &sample.parts {
        Parts::File(header, content) => samples::filez(header, content),
        Parts::Metadata(bytes) => bytes.to_vec(),
    }
}

/// Returns the body of a file with `content` instead of its own, announced with `content_bytes`.
fn with_content(sample: &Sample, content_bytes: u64, content: Payload) -> Incoming {
    let body = match sample.body_with(|_| content) {
        Body::File {
            header, content, ..
        } => Body::File {
            header,
            content_bytes,
            content,
        },
        other => other,
    };
    Incoming::named(sample.name, body)
}

pub(super) async fn a_file_with_the_wrong_name_leaves_nothing(place: Here<'_>) -> Outcome {
    let wrong = ObjectName::file(Checksum::of(b"another"));
    for sample in [small(place), large(place)] {
        let plain = Incoming::named(wrong, sample.body_with(Payload::Bytes));
        is_corrupt(place, wrong, plain).await?;
        let filez = samples::filez_named(wrong, filez_of(&sample));
        is_corrupt(&*place.another().await?, wrong, filez).await?;
    }
    Ok(())
}

pub(super) async fn metadata_with_the_wrong_name_leaves_nothing(place: Here<'_>) -> Outcome {
    let samples = [samples::dirmeta(0o755), samples::dirtree(&[], &[])];
    for sample in samples {
        let wrong = ObjectName::new(sample.name.object_type, Checksum::of(b"another"));
        let incoming = Incoming::named(wrong, sample.body_with(Payload::Bytes));
        is_corrupt(place, wrong, incoming).await?;
    }
    Ok(())
}

pub(super) async fn a_file_cut_short_leaves_nothing(place: Here<'_>) -> Outcome {
    for sample in [small(place), large(place)] {
        let length = sample.unpacked_bytes();
        let Parts::File(_, content) = &sample.parts else {
            return Err(Failed::new("the sample is no file"));
        };
        let short = content.slice(..content.len() - 1);
        let at_hand = with_content(&sample, length, Payload::Bytes(short.clone()));
        is_corrupt(place, sample.name, at_hand).await?;
        let pieces = samples::stream(samples::split(&short, 1000));
        let streamed = with_content(&sample, length, Payload::Stream(pieces));
        is_corrupt(place, sample.name, streamed).await?;
    }
    Ok(())
}

pub(super) async fn a_file_longer_than_announced_leaves_nothing(place: Here<'_>) -> Outcome {
    for sample in [small(place), large(place)] {
        let Parts::File(_, content) = &sample.parts else {
            return Err(Failed::new("the sample is no file"));
        };
        let longer: Bytes = [content, &b"!"[..]].concat().into();
        let incoming = with_content(&sample, sample.unpacked_bytes(), Payload::Bytes(longer));
        is_corrupt(place, sample.name, incoming).await?;
    }
    Ok(())
}

pub(super) async fn a_stream_that_breaks_leaves_nothing(place: Here<'_>) -> Outcome {
    let sample = large(place);
    let broken = |bytes: &Bytes| {
        let mut pieces = samples::split(bytes, 30_000);
        let middle = pieces.len() / 2;
        pieces.truncate(middle);
        pieces.push(Err(samples::broken_connection()));
        Payload::Stream(samples::stream(pieces))
    };
    let plain = Incoming::named(sample.name, sample.body_with(|bytes| broken(&bytes)));
    let payload = broken(&filez_of(&sample).into());
    let body = Body::Filez {
        stored_bytes: None,
        payload,
    };
    let filez = Incoming::named(sample.name, body);
    let meta = samples::dirmeta(0o711);
    let body = meta.body_with(|bytes| {
        let first = Ok(bytes.slice(..4));
        let pieces = vec![first, Err(samples::broken_connection())];
        Payload::Stream(samples::stream(pieces))
    });
    let metadata = Incoming::named(meta.name, body);
    for (name, incoming) in [(sample.name, plain), (sample.name, filez), (meta.name, metadata)] {
        let error = leaves_nothing(place, name, incoming).await?;
        // The caller tries a broken connection again, and another source for bad bytes.
        ensure!(
            matches!(error.kind(), ErrorKind::Unavailable { .. }),
            "a broken connection became another kind of error: {error}"
        );
    }
    Ok(())
}

pub(super) async fn a_filez_cut_short_leaves_nothing(place: Here<'_>) -> Outcome {
    let sample = large(place);
    let whole = filez_of(&sample);
    let header_bytes = whole.len() - samples::deflate(content_of(&sample)).len();
    for length in [0, 5, 12, header_bytes, header_bytes + 1, whole.len() / 2, whole.len() - 1] {
        let short = samples::filez_named(sample.name, whole[..length].to_vec());
        let error = leaves_nothing(place, sample.name, short).await?;
        let kind = error.kind();
        ensure_eq!(kind, ErrorKind::Corrupt, "the error for {length} bytes, '{error}'");
    }
    Ok(())
}

fn content_of(sample: &Sample) -> &[u8] {
    match &sample.parts {
        Parts::File(_, content) => content,
        Parts::Metadata(bytes) => bytes,
    }
}

pub(super) async fn a_filez_with_bytes_after_its_end_leaves_nothing(place: Here<'_>) -> Outcome {
    for sample in [small(place), large(place)] {
        for tail in [&b"\0"[..], &[b'x'; 3000]] {
            let bytes = [filez_of(&sample), tail.to_vec()].concat();
            let incoming = samples::filez_named(sample.name, bytes);
            is_corrupt(place, sample.name, incoming).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_filez_whose_header_lies_leaves_nothing(place: Here<'_>) -> Outcome {
    let sample = small(place);
    let Parts::File(header, content) = &sample.parts else {
        return Err(Failed::new("the sample is no file"));
    };
    let truth = content.len() as u64;
    for lie in [0, truth - 1, truth + 1, u64::MAX] {
        let mut bytes = header.to_filez(lie);
        bytes.extend(samples::deflate(content));
        let incoming = samples::filez_named(sample.name, bytes);
        is_corrupt(place, sample.name, incoming).await?;
    }
    Ok(())
}

pub(super) async fn a_filez_bomb_leaves_nothing(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header.clone(), vec![0; 16]);
    let mut bytes = header.to_filez(16);
    bytes.extend(samples::deflate(&vec![0; 8 * 1024 * 1024]));
    is_corrupt(place, sample.name, samples::filez_named(sample.name, bytes)).await
}

pub(super) async fn metadata_over_the_limit_leaves_nothing(place: Here<'_>) -> Outcome {
    let sample = samples::dirmeta(0o755);
    let length = sample.unpacked_bytes();
    let at_hand = sample.incoming().limit_metadata(length - 1);
    is_corrupt(place, sample.name, at_hand).await?;
    let streamed = sample.streamed(3).limit_metadata(length - 1);
    is_corrupt(place, sample.name, streamed).await?;
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let exact = sample.streamed(3).limit_metadata(length);
    only(batch.put(vec![exact]).await)??;
    ensure_has(&*batch, &sample).await
}

pub(super) async fn a_body_of_the_wrong_kind_leaves_nothing(place: Here<'_>) -> Outcome {
    let (file, meta) = (small(place), samples::dirmeta(0o755));
    let as_file = Incoming::named(file.name, meta.body_with(Payload::Bytes));
    let error = leaves_nothing(place, file.name, as_file).await?;
    ensure_eq!(error.kind(), ErrorKind::Invalid, "metadata as a file, '{error}'");
    let as_metadata = Incoming::named(meta.name, file.body_with(Payload::Bytes));
    let error = leaves_nothing(place, meta.name, as_metadata).await?;
    ensure_eq!(error.kind(), ErrorKind::Invalid, "a file as metadata, '{error}'");
    Ok(())
}

pub(super) async fn one_bad_object_does_not_spoil_the_others(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let wrong = ObjectName::file(Checksum::of(b"another"));
    let samples: Vec<_> = (0..6).map(|i| samples::file(holds, &format!("good {i}"))).collect();
    let mut incoming: Vec<_> = samples.iter().map(Sample::incoming).collect();
    incoming.insert(3, Incoming::named(wrong, small(place).body_with(Payload::Bytes)));
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let mut answers = batch.put(incoming).await;
    ensure_eq!(answers.len(), 7, "the number of answers");
    ensure_refused!(answers.remove(3), ErrorKind::Corrupt, "the bad one of seven");
    for (put, sample) in super::all_ok(answers)?.iter().zip(&samples) {
        ensure_eq!(put.name, sample.name, "the answers' order");
    }
    batch.commit().await?;
    for sample in &samples {
        ensure_has(&*store, sample).await?;
    }
    ensure_lacks(&*store, wrong).await
}

pub(super) async fn a_refused_object_can_be_put_again(place: Here<'_>) -> Outcome {
    let sample = small(place);
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let bad = with_content(&sample, 3, Payload::Bytes(Bytes::from_static(b"bad")));
    ensure_refused!(only(batch.put(vec![bad]).await)?, ErrorKind::Corrupt, "a bad body");
    only(batch.put(vec![sample.incoming()]).await)??;
    batch.commit().await?;
    ensure_has(&*place.open().await?, &sample).await
}

pub(super) async fn headers_that_cannot_be_held_are_refused(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let headers = samples::odd_headers(holds).into_iter();
    for (odd, header) in headers.filter(|(_, header)| !holds.can_hold(header)) {
        let sample = Sample::file(header, Bytes::new());
        for incoming in [sample.incoming(), sample.incoming_filez()] {
            let refused = leaves_nothing(place, sample.name, incoming).await;
            let error = refused.map_err(|e| Failed::new(format!("{odd}: {e}")))?;
            let kind = error.kind();
            let allowed = [ErrorKind::Unsupported, ErrorKind::Invalid, ErrorKind::Denied];
            ensure!(allowed.contains(&kind), "{odd}: refused as {kind:?}: {error}");
        }
    }
    Ok(())
}
