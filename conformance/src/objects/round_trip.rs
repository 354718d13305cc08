//! What is put comes back.

use std::io::Cursor;

use treeferry_core::format::{FileHeader, ObjectName, ObjectType};
use treeferry_core::store::{
    BatchOptions, Body, Encoding, Incoming, ObjectStore, Payload, Put, Stored,
};

use super::{Here, ensure_has, only, put_all, stat};
use crate::samples::{self, Parts, Sample};
use crate::{Failed, Outcome};

/// Puts one object, however it comes, and checks that it is `sample` in a second handle.
async fn comes_back(place: Here<'_>, sample: &Sample, incoming: Incoming) -> Result<Put, Failed> {
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let put = only(batch.put(vec![incoming]).await)??;
    ensure_eq!(put.name, sample.name, "the name that put answers");
    ensure_eq!(put.stored, Stored::New, "whether it was new");
    ensure_eq!(put.unpacked_bytes, sample.unpacked_bytes(), "its length, unpacked");
    ensure_has(&*batch, sample).await?;
    batch.commit().await?;
    ensure_has(&*store, sample).await?;
    ensure_has(&*place.open().await?, sample).await?;
    Ok(put)
}

pub(super) async fn an_empty_file_comes_back(place: Here<'_>) -> Outcome {
    let sample = samples::file(place.profile().holds, "");
    comes_back(place, &sample, sample.incoming()).await.map(drop)
}

pub(super) async fn a_small_file_comes_back(place: Here<'_>) -> Outcome {
    let sample = samples::file(place.profile().holds, "a small file\n");
    comes_back(place, &sample, sample.incoming()).await.map(drop)
}

pub(super) async fn a_large_file_comes_back(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header, samples::large_content());
    comes_back(place, &sample, sample.incoming()).await.map(drop)
}

pub(super) async fn a_symbolic_link_comes_back(place: Here<'_>) -> Outcome {
    for target in ["a", "/usr/lib/os-release", "../ü/with spaces", &"long/".repeat(200)] {
        let place = place.another().await?;
        let sample = samples::symlink(place.profile().holds, target);
        comes_back(&*place, &sample, sample.incoming()).await?;
    }
    Ok(())
}

pub(super) async fn a_file_that_arrives_in_pieces_comes_back(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header, samples::large_content().slice(..70_001));
    comes_back(place, &sample, sample.streamed(777)).await.map(drop)
}

pub(super) async fn a_file_from_a_blocking_reader_comes_back(place: Here<'_>) -> Outcome {
    let sample = samples::file(place.profile().holds, "read from a reader");
    let body = sample.body_with(|bytes| Payload::Reader(Box::new(Cursor::new(bytes))));
    let incoming = Incoming::named(sample.name, body);
    comes_back(place, &sample, incoming).await.map(drop)
}

pub(super) async fn every_header_that_can_be_held_comes_back(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let headers = samples::odd_headers(holds).into_iter();
    for (odd, header) in headers.filter(|(_, header)| holds.can_hold(header)) {
        let sample = with_content(header, odd);
        let came_back = comes_back(place, &sample, sample.incoming()).await;
        came_back.map_err(|e| Failed::new(format!("{odd}: {e}")))?;
    }
    Ok(())
}

fn with_content(header: FileHeader, text: &str) -> Sample {
    let text = if header.is_symlink() { "" } else { text };
    Sample::file(header, text.as_bytes().to_vec())
}

pub(super) async fn a_filez_body_becomes_an_object(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let samples = [
        samples::file(holds, ""),
        samples::file(holds, "comes deflated"),
        samples::symlink(holds, "deflated"),
    ];
    for sample in samples {
        comes_back(place, &sample, sample.incoming_filez()).await?;
    }
    Ok(())
}

pub(super) async fn a_large_filez_body_becomes_an_object(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header, samples::large_content());
    comes_back(place, &sample, sample.incoming_filez()).await.map(drop)
}

pub(super) async fn content_is_handed_out_as_the_store_says(place: Here<'_>) -> Outcome {
    let profile = place.profile();
    let store = place.open().await?;
    ensure_eq!(store.encoding(), profile.encoding, "the encoding of the store");
    // Long enough for levels of deflate to differ: who deflates again is found out.
    let lines: String = (0..2000).map(|i| format!("line {i} came deflated\n")).collect();
    let deflated = samples::file(profile.holds, &lines);
    let plain = samples::file(profile.holds, "this one did not");
    comes_back(place, &deflated, deflated.incoming_filez()).await?;
    comes_back(place, &plain, plain.incoming()).await?;
    for sample in [&deflated, &plain] {
        let body = store.fetch(&sample.name).await?;
        match (profile.encoding, body) {
            (Encoding::Canonical, Some(Body::File { .. }))
            | (Encoding::Filez, Some(Body::Filez { .. })) => {}
            (encoding, body) => ensure!(false, "{encoding:?}, but it hands out {body:?}"),
        }
    }
    if profile.encoding == Encoding::Filez {
        passed_on_as_it_came(&*store, &deflated).await?;
    }
    Ok(())
}

/// Checks that a `.filez` was not deflated again.
async fn passed_on_as_it_came(store: &dyn ObjectStore, sample: &Sample) -> Outcome {
    let (Some(Body::Filez { payload, .. }), Parts::File(header, content)) =
        (store.fetch(&sample.name).await?, &sample.parts)
    else {
        return Err(Failed::new("a file was not handed out as .filez"));
    };
    let found = super::read_payload(payload).await?;
    let expected = samples::filez(header, content);
    ensure_eq!(found, expected, "the bytes of a .filez that was put as one");
    Ok(())
}

pub(super) async fn metadata_comes_back(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "a tree", 3);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    let second = place.open().await?;
    for sample in &tree.objects {
        ensure_has(&*second, sample).await?;
    }
    let streamed = samples::dirmeta(0o711);
    comes_back(place, &streamed, streamed.streamed(5)).await.map(drop)
}

pub(super) async fn a_dirtree_of_many_entries_comes_back(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let file = samples::file(place.profile().holds, "in many places");
    let names: Vec<String> = (0..2500).map(|i| format!("a name of some length {i:06}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), &file)).collect();
    let tree = samples::dirtree(&entries, &[]);
    put_all(&*store, &[file, tree.clone()]).await?;
    ensure_has(&*place.open().await?, &tree).await
}

pub(super) async fn what_is_recorded_is_named_by_its_hash(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let meta = samples::dirmeta(0o750);
    let file = samples::file(place.profile().holds, "recorded");
    let Parts::File(header, content) = &file.parts else {
        return Err(Failed::new("the sample is no file"));
    };
    let Parts::Metadata(meta_bytes) = &meta.parts else {
        return Err(Failed::new("the sample is no metadata"));
    };
    let content_bytes = content.len() as u64;
    let recorded = vec![
        Incoming::recorded_file(header.clone(), content_bytes, Payload::Bytes(content.clone())),
        Incoming::recorded_metadata(ObjectType::DirMeta, meta_bytes.clone()),
    ];
    let batch = store.begin(BatchOptions::default()).await?;
    let puts = super::all_ok(batch.put(recorded).await)?;
    batch.commit().await?;
    let names: Vec<ObjectName> = puts.iter().map(|put| put.name).collect();
    ensure_eq!(names, vec![file.name, meta.name], "the names of recorded objects");
    for (put, sample) in puts.iter().zip([&file, &meta]) {
        ensure_has(&*store, sample).await?;
        let stat = stat(&*store, sample.name).await?;
        ensure_eq!(stat.map(|s| s.stored_bytes), Some(put.stored_bytes), "the stored length");
    }
    Ok(())
}
