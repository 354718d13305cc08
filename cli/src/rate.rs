//! How fast content may move over the network: one rate for all that a call of the command moves.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::OnceLock;

use treeferry_core::transport::{Rate, RateLimited};

/// What was asked for, if anything was.
static RATE: OnceLock<Rate> = OnceLock::new();

#[derive(Debug, clap::Args)]
pub(crate) struct LimitRate {
    /// Move no more BYTES a second over the network; with K, M or G for 1024, 1024^2 or 1024^3
    #[arg(long, value_name = "BYTES")]
    limit_rate: Option<BytesPerSecond>,
}

impl LimitRate {
    /// Holds all transports that are opened from now on to it.
    pub(crate) fn apply(&self) {
        if let Some(BytesPerSecond(bytes)) = self.limit_rate {
            // The first one counts: there is one verb a call.
            let _ = RATE.set(Rate::new(bytes));
        }
    }
}

/// Puts a transport below the rate that was asked for.
pub(crate) fn limited<T>(transport: T) -> RateLimited<T> {
    RateLimited::new(transport, RATE.get().cloned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BytesPerSecond(NonZeroU64);

impl FromStr for BytesPerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let shift = match unit {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            _ => return Err(format!("'{unit}' is no unit: expected K, M or G")),
        };
        let number: u64 = number
            .parse()
            .map_err(|_| "expected a number of bytes".to_owned())?;
        let bytes = number.checked_mul(1 << shift).and_then(NonZeroU64::new);
        bytes.map(Self).ok_or_else(|| "cannot be a rate".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let parse = |text: &str| text.parse::<BytesPerSecond>().ok().map(|rate| rate.0.get());
        assert_eq!(parse("300"), Some(300));
        assert_eq!(parse("20K"), Some(20 << 10));
        assert_eq!(parse("3m"), Some(3 << 20));
        assert_eq!(parse("1G"), Some(1 << 30));
        for bad in ["", "0", "K", "-1", "1.5M", "2T", "99999999999G"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
