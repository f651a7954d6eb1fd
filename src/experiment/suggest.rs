//! The nearest right name.

/// A hint for a name that is not known: the one that was probably meant, else all of them.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match did_you_mean_one_of(found, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there are none here".into(),
        None => {
            format!("known are {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The known name that is near enough to be what was meant.
pub fn did_you_mean_one_of<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let (slips, nearest) = known.iter().map(|k| (strsim::damerau_levenshtein(found, k), *k)).min()?;
    (slips <= (found.chars().count() / 3).max(1)).then_some(nearest)
}
