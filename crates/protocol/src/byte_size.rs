//! Sizes as an operator writes them, such as `64KiB`.

/// The units of 1024, the largest first.
const BINARY: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// The others, `B` last: they end with it. Of the units of 1000 `kB` alone begins with a small letter,
/// as the SI has it.
const OTHERS: [(&str, u64); 5] = [
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Reads a size with a unit, of at least one byte. `None`: it is none.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let size = BINARY.iter().chain(&OTHERS).find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim_end();
        Some(number.parse::<f64>().ok()? * *bytes as f64)
    })?;
    // More than this no number of floating point tells from the next.
    let is_size = (1.0..=(1_u64 << 53) as f64).contains(&size);
    is_size.then_some(size as u64)
}

/// What was probably meant by a text that is no size, such as `64KiB` by `64k` and by `64KB`: whoever
/// slips so mostly means the units of 1024.
#[must_use]
pub fn meant(text: &str) -> Option<String> {
    let text = text.trim();
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match &*unit.trim().to_ascii_lowercase() {
        "" | "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        "t" | "tb" | "ti" | "tib" => "TiB",
        _ => return None,
    };
    let size = format!("{number}{unit}");
    parse(&size).map(|_| size)
}

/// A number of bytes as an operator would write it: in the largest unit of 1024 of which it is a whole
/// number.
#[must_use]
pub fn written(bytes: u64) -> String {
    let mut units = BINARY.iter();
    let fits = units.find(|(_, of)| bytes >= *of && bytes.is_multiple_of(*of));
    let (unit, of) = fits.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / of)
}

/// A number of bytes as people read it: in the largest unit of 1024 that it reaches, to a tenth.
#[must_use]
pub fn shown(bytes: u64) -> String {
    let reached = BINARY.iter().find(|(_, of)| bytes >= *of);
    let (unit, of) = reached.unwrap_or(&("B", 1));
    let tenths = (bytes as f64 / *of as f64 * 10.0).round() / 10.0;
    format!("{tenths} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit_to_a_tenth() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 30, "1 GiB"),
            (3 << 29, "1.5 GiB"),
            (2_000_000, "1.9 MiB"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn sizes_have_units_and_at_least_one_byte() {
        for (text, bytes) in [
            ("10MiB", 10 << 20),
            ("64 KiB", 64 << 10),
            ("0.5KiB", 512),
            ("1.5 kB", 1500),
            ("1MB", 1_000_000),
            ("2TB", 2_000_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for wrong in [
            "", "10", "0B", "-1B", "nanB", "infB", "1e30B", "64KB", "64k", "64kib",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_slip_is_told_from_nonsense() {
        for (text, size) in [
            ("64KB", "64KiB"),
            ("64k", "64KiB"),
            ("64 K", "64KiB"),
            ("64kib", "64KiB"),
            ("1.5mb", "1.5MiB"),
            ("10M", "10MiB"),
            ("2g", "2GiB"),
            (" 1 tib ", "1TiB"),
            ("65536", "65536B"),
            ("12 bytes", "12B"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(size), "{text}");
        }
        for text in ["", "much", "KiB", "1.2.3k", "-1k", "0k", "64KiBit", "1e3k"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (bytes, text) in [
            (1, "1B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (64 << 20, "64MiB"),
            (1 << 40, "1TiB"),
            ((1 << 40) + 1024, "1073741825KiB"),
        ] {
            assert_eq!(written(bytes), text);
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        assert_eq!(written(0), "0B");
    }
}
