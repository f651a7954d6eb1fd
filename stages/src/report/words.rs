//! Small pieces of text: numbers, counts and lists as people write them.

/// With a fixed number of decimals, and never `-0`.
pub fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.into(),
        _ => text,
    }
}

/// The typographic minus sign, so that a line never breaks after it and it is as wide as a plus.
pub fn minus_sign(number: &str) -> String {
    number.replace('-', "\u{2212}")
}

/// `1 seed`, `2 seeds`.
pub fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}
