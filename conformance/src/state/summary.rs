//! The summary and its signature: one value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use treeferry_core::store::SignedSummary;

use super::{Here, bytes};
use crate::{Failed, Outcome};

fn signed(summary: &'static str, signature: Option<&'static str>) -> SignedSummary {
    SignedSummary {
        summary: bytes(summary),
        signature: signature.map(bytes),
    }
}

async fn write(place: Here<'_>, summary: Option<SignedSummary>) -> Outcome {
    let state = place.open().await?;
    state.write_summary(summary.clone()).await?;
    for handle in [&state, &place.open().await?] {
        ensure_eq!(handle.read_summary().await?, summary, "the summary");
    }
    Ok(())
}

pub(super) async fn a_summary_comes_back_with_its_signature(place: Here<'_>) -> Outcome {
    let none = place.open().await?.read_summary().await?;
    ensure_eq!(none, None, "the summary of a new place");
    write(place, Some(signed("one", Some("signature of one")))).await?;
    write(place, Some(signed("two", Some("signature of two")))).await
}

pub(super) async fn an_unsigned_summary_has_no_signature(place: Here<'_>) -> Outcome {
    write(place, Some(signed("one", Some("signature of one")))).await?;
    write(place, Some(signed("two", None))).await?;
    write(place, Some(signed("two", Some("signature of two")))).await
}

pub(super) async fn a_deleted_summary_takes_its_signature_along(place: Here<'_>) -> Outcome {
    write(place, None).await?;
    write(place, Some(signed("one", Some("signature of one")))).await?;
    write(place, None).await?;
    write(place, Some(signed("two", None))).await
}

pub(super) async fn a_summary_is_never_read_with_anothers_signature(place: Here<'_>) -> Outcome {
    let (writer, reader) = (place.open().await?, place.open().await?);
    let done = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&done);
    let writing = tokio::spawn(async move {
        for i in 0..60 {
            let text = Bytes::from(format!("number {i}"));
            let signature = Some(text.clone());
            let summary = text;
            let both = SignedSummary { summary, signature };
            writer.write_summary(Some(both)).await?;
        }
        ended.store(true, Ordering::Release);
        Ok::<_, Failed>(())
    });
    while !done.load(Ordering::Acquire) && !writing.is_finished() {
        if let Some(read) = reader.read_summary().await? {
            ensure_eq!(read.signature, Some(read.summary.clone()), "the signature read");
        }
        tokio::task::yield_now().await;
    }
    writing.await.map_err(|e| Failed::new(e.to_string()))?
}
