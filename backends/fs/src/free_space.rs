//! Room that writers leave to others: `core.min-free-space-percent` and `-size`.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use treeferry_core::error::{Error, ErrorKind, Result};

use crate::config::key;
use crate::sys::failed;

/// How much of the filesystem stays free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MinFree {
    /// Percent of the whole filesystem, not of what is free of it.
    Percent(u64),
    Bytes(u64),
}

impl MinFree {
    /// Reads both keys. The size counts when both are there; without either it is 3 percent.
    pub(crate) fn parse(size: Option<&str>, percent: Option<&str>) -> Result<Self> {
        if let Some(size) = size {
            return Ok(Self::Bytes(parse_size(size)?));
        }
        let Some(text) = percent else {
            return Ok(Self::Percent(3));
        };
        match text.trim().parse() {
            Ok(percent @ 0..=99) => Ok(Self::Percent(percent)),
            _ => {
                let problem = format!("'{text}' is not a number from 0 to 99");
                Err(Error::invalid(problem).about(key("min-free-space-percent")))
            }
        }
    }
}

fn parse_size(text: &str) -> Result<u64> {
    let fail = |problem: &str| {
        let problem = format!("'{text}' {problem}");
        Err(Error::invalid(problem).about(key("min-free-space-size")))
    };
    let units = [("MB", 20), ("GB", 30), ("TB", 40)];
    let split = |(unit, shift)| Some((text.strip_suffix(unit)?, shift));
    let Some((digits, shift)) = units.into_iter().find_map(split) else {
        return fail("is not of the form 123MB, 123GB or 123TB");
    };
    match digits.parse::<u64>() {
        Ok(number) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let bytes = number.checked_mul(1 << shift);
            bytes.map_or_else(|| fail("is more than can be counted"), Ok)
        }
        _ => fail("is not of the form 123MB, 123GB or 123TB"),
    }
}

/// What a batch may still write.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Bytes left; meaningless when `limited` is false.
    left: AtomicU64,
    block_bytes: u64,
    limited: bool,
}

impl Allowance {
    /// Looks at the filesystem of `dir`.
    pub(crate) fn new(dir: BorrowedFd<'_>, min_free: MinFree) -> Result<Self> {
        let vfs = rustix::fs::fstatvfs(dir).map_err(failed(".", "cannot be asked for its room"))?;
        let block_bytes = vfs.f_frsize.max(1);
        // What is reserved for root is there for root, as OSTree counts.
        let free_blocks = match rustix::process::getuid().is_root() {
            true => vfs.f_bfree,
            false => vfs.f_bavail,
        };
        let reserved = match min_free {
            MinFree::Percent(percent) => {
                let blocks = u128::from(vfs.f_blocks) * u128::from(percent) / 100;
                u64::try_from(blocks).unwrap_or(u64::MAX)
            }
            MinFree::Bytes(bytes) => bytes / block_bytes,
        };
        let left = free_blocks
            .saturating_sub(reserved)
            .saturating_mul(block_bytes);
        Ok(Self {
            left: AtomicU64::new(left),
            block_bytes,
            limited: !matches!(min_free, MinFree::Percent(0) | MinFree::Bytes(0)),
        })
    }

    /// Takes room for an object of `bytes`, or says that there is none left.
    pub(crate) fn take(&self, bytes: u64) -> Result<()> {
        if !self.limited {
            return Ok(());
        }
        // Lengths are announced by others: what cannot be counted does not fit either.
        let Some(needed) = bytes.checked_next_multiple_of(self.block_bytes) else {
            return Err(self.exhausted(bytes, self.left.load(Ordering::Relaxed)));
        };
        let take = |left: u64| left.checked_sub(needed);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(()),
            Err(available) => Err(self.exhausted(needed, available)),
        }
    }

    /// Gives back what was taken for an object of `bytes` that is not written after all.
    pub(crate) fn give_back(&self, bytes: u64) {
        // What cannot be counted was never taken.
        let Some(bytes) = bytes.checked_next_multiple_of(self.block_bytes) else {
            return;
        };
        if self.limited {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn exhausted(&self, needed: u64, available: u64) -> Error {
        let kind = ErrorKind::NoSpace {
            needed_bytes: Some(needed),
            available_bytes: Some(available),
        };
        let problem = format!(
            "not enough room: {needed} bytes are needed, {available} are available above what \
             core.min-free-space-size or -percent keep free"
        );
        Error::new(kind, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_nothing_else() {
        assert_eq!(parse_size("5MB").ok(), Some(5 << 20));
        assert_eq!(parse_size("12GB").ok(), Some(12 << 30));
        for bad in [
            "5mb",
            "5",
            "5M",
            "5KB",
            "MB",
            "1.5GB",
            "+1GB",
            "999999999999TB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_size_counts_before_the_percentage() {
        let both = MinFree::parse(Some("1MB"), Some("99")).ok();
        assert_eq!(both, Some(MinFree::Bytes(1 << 20)));
        assert!(MinFree::parse(None, Some("100")).is_err());
        assert_eq!(MinFree::parse(None, None).ok(), Some(MinFree::Percent(3)));
    }

    #[test]
    fn an_allowance_runs_out_and_says_by_how_much() {
        let allowance = Allowance {
            left: AtomicU64::new(8192),
            block_bytes: 4096,
            limited: true,
        };
        assert!(allowance.take(1).is_ok());
        assert!(allowance.take(4096).is_ok());
        let error = allowance.take(1).expect_err("nothing is left");
        let wanted = ErrorKind::NoSpace {
            needed_bytes: Some(4096),
            available_bytes: Some(0),
        };
        assert_eq!(error.kind(), wanted);
        allowance.give_back(1);
        assert!(allowance.take(1).is_ok());
    }

    #[test]
    fn a_length_that_cannot_be_counted_does_not_fit() {
        let allowance = Allowance {
            left: AtomicU64::new(8192),
            block_bytes: 4096,
            limited: true,
        };
        for hostile in [u64::MAX, u64::MAX - 4094] {
            let error = allowance.take(hostile).expect_err("more than any disk");
            let wanted = ErrorKind::NoSpace {
                needed_bytes: Some(hostile),
                available_bytes: Some(8192),
            };
            assert_eq!(error.kind(), wanted);
            allowance.give_back(hostile);
        }
        assert!(allowance.take(8192).is_ok());
        assert!(allowance.take(1).is_err());
    }
}
