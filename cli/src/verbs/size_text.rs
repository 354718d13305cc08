//! Sizes for reading.

/// Returns a size as GLib writes it, which scripts know: powers of 1000, one digit.
pub(crate) fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    match bytes {
        1 => return "1 byte".to_owned(),
        0..1000 => return format!("{bytes} bytes"),
        _ => {}
    }
    let mut factor = 1000_u64;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes / 1000 >= factor {
        factor *= 1000;
        unit += 1;
    }
    // Beyond 2^53 the digits that are lost are not shown.
    let shown = bytes as f64 / factor as f64;
    format!("{shown:.1}\u{a0}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_powers_of_1000() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0\u{a0}kB"),
            (1_500_000, "1.5\u{a0}MB"),
            (u64::MAX, "18.4\u{a0}EB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
