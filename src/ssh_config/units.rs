//! Numbers as OpenSSH writes them: ports, times (`1h30m`), sizes (`1.5G`).

use std::time::Duration;

/// A port from 1 on.
pub(super) fn port(text: &str) -> Option<u16> {
    port_or_zero(text).filter(|port| *port != 0)
}

/// A port, or 0.
pub(super) fn port_or_zero(text: &str) -> Option<u16> {
    digits(text)?.parse().ok()
}

/// A number that C's `int` holds.
pub(super) fn number(text: &str) -> Option<u32> {
    digits(text)?.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok())
}

/// Seconds, or numbers with the units s, m, h, d and w, added up.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let mut after = after.chars();
        let seconds = match after.next().map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            Some('w') => 7 * 24 * 3600,
            Some(_) => return None,
        };
        total = number.parse::<u64>().ok()?.checked_mul(seconds)?.checked_add(total)?;
        rest = after.as_str();
        if rest.is_empty() {
            // OpenSSH keeps it in an `int`.
            return i32::try_from(total).is_ok().then(|| Duration::from_secs(total));
        }
    }
}

/// Bytes, with a fraction and one of the units B, K, M, G, T, P and E.
pub(super) fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let power = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    let scale = 1_u128 << (10 * power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 18 {
        return None;
    }
    let fraction = if fraction.is_empty() {
        0
    } else {
        let places = u32::try_from(fraction.len()).ok()?;
        digits(fraction)?.parse::<u128>().ok()?.checked_mul(scale)? / 10_u128.checked_pow(places)?
    };
    let whole = u128::from(digits(whole)?.parse::<u64>().ok()?).checked_mul(scale)?;
    let bytes = u64::try_from(whole.checked_add(fraction)?).ok()?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_their_units() {
        let seconds = |text| time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("1W2d3H4m5s"), Some(788_645));
        assert_eq!(seconds("5m5"), Some(305));
        for text in ["", "m", "5x", "-1", " 5", "5 m", "99999999999999999999", "4000000000", "1h-2m"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_one_unit_and_may_have_a_fraction() {
        assert_eq!(size("512"), Some(512));
        assert_eq!(size("1K"), Some(1024));
        assert_eq!(size("1.5g"), Some(3 << 29));
        assert_eq!(size("0"), Some(0));
        for text in ["", "K", "1KK", "1.2.3", "-1", ".5K", "9E", "1 K", "1.1234567890123456789K"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn ports_are_decimal_and_fit() {
        assert_eq!(port("22"), Some(22));
        for text in ["0", "65536", "", "+1", "-1", "0x16", "22 "] {
            assert_eq!(port(text), None, "{text:?}");
        }
        assert_eq!(port_or_zero("0"), Some(0));
        assert_eq!(number("2147483647"), Some(2_147_483_647));
        assert_eq!(number("2147483648"), None);
    }
}
