//! Numbers as people read them. JSON has the exact ones.

/// A count or a rate in at most six characters: `999`, `12.3k`, `4.56M`.
pub(crate) fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut scaled = number.abs();
    let mut unit = 0;
    // 999.5 would be rounded to 1000, which belongs to the next unit.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let digits = match (unit, scaled) {
        (0, scaled) if scaled.fract() == 0.0 || scaled >= 99.95 => 0,
        (0, _) => 1,
        (_, scaled) if scaled >= 99.95 => 0,
        (_, scaled) if scaled >= 9.995 => 1,
        _ => 2,
    };
    format!("{sign}{scaled:.digits$}{}", UNITS[unit])
}

/// A count with its thousands apart: `1 234 567`.
pub(crate) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits.get(..first).unwrap_or_default().to_owned();
    for group in digits.as_bytes().get(first..).unwrap_or_default().chunks(3) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

/// Bytes: `512 B`, `4.0 KiB`, `64 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = number as f64;
    let mut unit = 0;
    while scaled >= 1023.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && scaled < 9.95);
    format!("{scaled:.digits$} {}", UNITS[unit])
}

/// Microseconds: `850us`, `12.3ms`, `1.50s`; a dash if there is none.
pub(crate) fn micros(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(us) if us < 99.95 => format!("{us:.1}us"),
        Some(us) if us < 999.5 => format!("{us:.0}us"),
        Some(us) if us < 999_500.0 => format!("{:.1}ms", us / 1000.0),
        Some(us) => format!("{:.2}s", us / 1e6),
    }
}

/// A length of time: `12 s`, `3:07`, `2:03:07`, `4 d 02:03`.
pub(crate) fn duration(seconds: f64) -> String {
    // A negative or absurd number shows as zero or the most there is: the cast saturates.
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{minutes}:{:02}", whole % 60),
        3600..86_400 => format!("{hours}:{minutes:02}:{:02}", whole % 60),
        _ => format!("{days} d {hours:02}:{minutes:02}"),
    }
}

/// Percent without a sign of precision that is not there: `0.3%`, `42%`.
pub(crate) fn percent(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}%") } else { format!("{number:.0}%") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_read_well() {
        let cases =
            [(0.0, "0"), (0.5, "0.5"), (999.0, "999"), (999.6, "1.00k"), (12_345.0, "12.3k"), (999_600.0, "1.00M")];
        for (number, text) in cases.into_iter().chain([(4_560_000.0, "4.56M"), (123e9, "123G"), (99e15, "99000T")]) {
            assert_eq!(short(number), text);
        }
        assert_eq!([exact(0), exact(999), exact(1000), exact(1_234_567)], ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [bytes(512), bytes(4096), bytes(64 << 20), bytes(u64::MAX)],
            ["512 B", "4.0 KiB", "64 MiB", "16777216 TiB"]
        );
        assert_eq!(
            [micros(Some(8.5)), micros(Some(850.0)), micros(Some(12_300.0)), micros(None)],
            ["8.5us", "850us", "12.3ms", "-"]
        );
        assert_eq!(
            [duration(-1.0), duration(187.0), duration(7387.0), duration(4e5)],
            ["0 s", "3:07", "2:03:07", "4 d 15:06"]
        );
        assert_eq!([percent(0.31), percent(42.2)], ["0.3%", "42%"]);
    }
}
