//! Writes over a transport, tried again where that is safe.

use bytes::Bytes;

use super::spool::Spooled;
use crate::archive::read;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pool;
use crate::transport::{
    Precondition, PutAnswer, PutBody, RemotePath, Retry, WritableTransport, retrying,
};

/// How many paths are deleted in one go.
const DELETES_A_REQUEST: usize = 1000;

/// Writes a file whatever is there: as often as it takes, for the bytes are the same each time.
pub(super) async fn put_always(
    transport: &dyn WritableTransport,
    retry: &Retry,
    path: &RemotePath,
    bytes: &Spooled,
) -> Result<()> {
    put_spooled(transport, retry, path, bytes, &Pool::default()).await
}

/// Writes bytes that may wait in a file, whatever is there.
pub(super) async fn put_spooled(
    transport: &dyn WritableTransport,
    retry: &Retry,
    path: &RemotePath,
    bytes: &Spooled,
    pool: &Pool,
) -> Result<()> {
    let once = async || match transport
        .put(path, Precondition::None, bytes.body(pool))
        .await
    {
        Ok(PutAnswer::Done { .. }) => Ok(()),
        Ok(PutAnswer::Conflict) => {
            let problem = "a write without a condition was answered as if it had one";
            Err(Error::invalid(problem))
        }
        Err(error) => Err(may_be_repeated(error)),
    };
    let sent = retrying(retry, || Box::pin(once())).await;
    sent.map_err(|e| e.about(read::url(transport, path)))
}

/// Writes a small file under a condition. What may have happened is looked at before it is tried
/// again.
pub(super) async fn put_if(
    transport: &dyn WritableTransport,
    retry: &Retry,
    path: &RemotePath,
    precondition: Precondition,
    bytes: Bytes,
) -> Result<PutAnswer> {
    let mut attempt = 0;
    // Once a try may have happened, a condition that does not hold may be that try's own doing.
    let mut in_doubt = false;
    loop {
        let body = PutBody::Bytes(bytes.clone());
        let answer = transport.put(path, precondition.clone(), body).await;
        let error = match answer {
            Ok(PutAnswer::Conflict) if in_doubt => {
                return match look(transport, retry, path, &bytes).await? {
                    Some(done) => Ok(done),
                    None => Ok(PutAnswer::Conflict),
                };
            }
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Indeterminate => in_doubt = true,
            ErrorKind::Unavailable { .. } => {}
            _ => return Err(error.about(read::url(transport, path))),
        }
        attempt += 1;
        let ErrorKind::Unavailable { retry_after } = may_be_repeated(error).kind() else {
            continue;
        };
        if attempt > retry.retries {
            let kind = match in_doubt {
                true => ErrorKind::Indeterminate,
                false => ErrorKind::Unavailable { retry_after },
            };
            let problem = format!("cannot be written: gave up after {attempt} tries");
            return Err(Error::new(kind, problem).about(read::url(transport, path)));
        }
        tokio::time::sleep(retry.wait_before(attempt, 1, retry_after)).await;
    }
}

/// Returns the answer of the write that put `bytes` there, if they are there.
async fn look(
    transport: &dyn WritableTransport,
    retry: &Retry,
    path: &RemotePath,
    bytes: &Bytes,
) -> Result<Option<PutAnswer>> {
    let read = || read::read(transport, path, None, bytes.len() as u64 + 1);
    let found = match retrying(retry, || Box::pin(read())).await {
        Ok(read::IfChanged::Changed(version)) => version,
        // What is longer than ours is another's.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => return Ok(None),
    };
    let same = found.bytes == *bytes;
    Ok(same.then_some(PutAnswer::Done {
        validator: found.validator,
    }))
}

/// Deletes files, which may be done as often as it takes.
pub(super) async fn delete(
    transport: &dyn WritableTransport,
    retry: &Retry,
    paths: &[RemotePath],
) -> Result<()> {
    for some in paths.chunks(DELETES_A_REQUEST) {
        let once = async || transport.delete(some).await.map_err(may_be_repeated);
        retrying(retry, || Box::pin(once())).await?;
    }
    Ok(())
}

/// Calls what may have happened merely unavailable: for what can be done twice.
fn may_be_repeated(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Indeterminate => {
            let kind = ErrorKind::Unavailable { retry_after: None };
            Error::new(kind, "it is not known whether it was done").because(error)
        }
        _ => error,
    }
}
