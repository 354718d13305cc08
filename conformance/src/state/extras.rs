//! Small files beside the objects.

use super::{Here, bytes, cookies, keyring};
use crate::Outcome;

pub(super) async fn extras_come_back(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    for name in [keyring("origin")?, cookies("origin")?] {
        for content in [None, Some(bytes("\x00\x7f one")), Some(bytes("two")), None, None] {
            state.write_extra(&name, content.clone()).await?;
            for handle in [&state, &place.open().await?] {
                ensure_eq!(handle.read_extra(&name).await?, content, "{name:?}");
            }
        }
    }
    Ok(())
}

pub(super) async fn extras_are_told_apart(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let all = [
        (keyring("one")?, bytes("a")),
        (keyring("two")?, bytes("b")),
        (cookies("one")?, bytes("c")),
        (cookies("two")?, bytes("d")),
    ];
    for (name, content) in &all {
        ensure_eq!(state.read_extra(name).await?, None, "{name:?} before it is written");
        state.write_extra(name, Some(content.clone())).await?;
    }
    state.write_extra(&all[1].0, None).await?;
    for (i, (name, content)) in all.into_iter().enumerate() {
        let expected = (i != 1).then_some(content);
        ensure_eq!(state.read_extra(&name).await?, expected, "{name:?}");
    }
    Ok(())
}
