//! Doubles as C prints them.

/// Returns `value` as `printf("%.17g")` writes it, made recognisable as a double.
pub(super) fn print(value: f64) -> String {
    /// The significant digits that tell any two doubles apart.
    const DIGITS: i32 = 17;

    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_nan() {
        return format!("{sign}nan");
    }
    if value.is_infinite() {
        return format!("{sign}inf");
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        let fixed = format!("{value:.decimals$}");
        let trimmed = trim_fraction(&fixed);
        let point = if trimmed.contains('.') { "" } else { ".0" };
        return format!("{trimmed}{point}");
    }
    let mantissa = trim_fraction(mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn trim_fraction(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}
