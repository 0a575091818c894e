//! Sizes, times and type names as people read them.

use std::time::Duration;

/// `999 B`, `2.1 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// As [`bytes`], of what is in memory.
pub(crate) fn size(size: usize) -> String {
    bytes(size as u64)
}

/// `250 ms`, `12 s`, `2 min 5 s`, `3 h 12 min`, `4 d 2 h`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |big: u64, name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {name}"),
        small => format!("{big} {name} {small} {small_name}"),
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A type's name without the modules it lives in.
pub(crate) fn type_name(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut word = String::new();
    let mut characters = full.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            ':' if characters.peek() == Some(&':') => {
                characters.next();
                word.clear();
            }
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&word);
                word.clear();
                short.push(c);
            }
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1 << 10, "1.0 KiB"), (2_202_010, "2.1 MiB")];
        for (number, text) in sizes {
            assert_eq!(bytes(number), text);
        }
        let times = [(250, "250 ms"), (12_345, "12 s"), (125_000, "2 min 5 s"), (7_200_000, "2 h")];
        for (millis, text) in times {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_type_is_named_without_its_modules() {
        assert_eq!(type_name("a::b::Relay<c::d::Msg, u8>"), "Relay<Msg, u8>");
        assert_eq!(type_name("Probe"), "Probe");
    }
}
