//! Which part of a file an answer holds, checked against what was asked for.

use reqwest::Response;
use treeferry_core::transport::{Resume, Validator};
use treeferry_core::{Error, Result};

use crate::answer::{self, ContentRange};

/// Which part of a file an answer holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Where it starts.
    pub(crate) offset: u64,
    /// How many bytes it has, if that is known.
    pub(crate) body_bytes: Option<u64>,
    /// How long the whole file is, if that is known.
    pub(crate) total_bytes: Option<u64>,
}

impl Part {
    /// Returns the whole of a file.
    pub(crate) fn whole(total_bytes: Option<u64>) -> Self {
        Self {
            offset: 0,
            body_bytes: total_bytes,
            total_bytes,
        }
    }
}

/// Checks a 206 against what was asked for. `None`: it is a part of another version.
pub(crate) fn check(response: &Response, resume: Option<&Resume>) -> Result<Option<Part>> {
    let Some(resume) = resume else {
        return Err(Error::corrupt(
            "answers with a part to a request for the whole",
        ));
    };
    let range = answer::content_range(response.headers());
    let Some(ContentRange {
        bytes: Some((first, last)),
        total_bytes,
    }) = range
    else {
        return Err(Error::corrupt(
            "answers with a part, but not which (no valid Content-Range)",
        ));
    };
    let reaches_end = total_bytes.is_none_or(|total| last + 1 == total);
    if first != resume.offset || !reaches_end {
        let wanted = resume.offset;
        let problem = format!("answers with bytes {first} to {last}, not all from {wanted} on");
        return Err(Error::corrupt(problem));
    }
    let body_bytes = last - first + 1;
    if let Some(announced) = response.content_length().filter(|n| *n != body_bytes) {
        let problem = format!("announces {announced} bytes for a part of {body_bytes}");
        return Err(Error::corrupt(problem));
    }
    // Some servers do not know `If-Range`, and send a part of whatever is there now.
    let validator = answer::validator(response.headers());
    if validator.is_some_and(|now| contradicts(&now, &resume.validator)) {
        return Ok(None);
    }
    Ok(Some(Part {
        offset: first,
        body_bytes: Some(body_bytes),
        total_bytes,
    }))
}

/// Returns whether both tell versions in the same way, and these are two.
fn contradicts(a: &Validator, b: &Validator) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a != b
}

/// Reads a 416. If the caller has the whole file already, nothing is left to send.
pub(crate) fn refused(response: &Response, resume: Option<&Resume>) -> Result<Option<Part>> {
    let Some(resume) = resume else {
        return Err(Error::corrupt("answers 416 to a request for the whole"));
    };
    let total_bytes = answer::content_range(response.headers()).and_then(|r| r.total_bytes);
    Ok((total_bytes == Some(resume.offset)).then_some(Part {
        offset: resume.offset,
        body_bytes: Some(0),
        total_bytes,
    }))
}
