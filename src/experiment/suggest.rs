//! The nearest right name.

/// Of many names so many are listed.
const LISTED: usize = 12;

/// A hint for a name that is not known: the one that was probably meant, else those that there are.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match did_you_mean_one_of(found, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there are none here".into(),
        None => format!("known are {}", listed(&known)),
    }
}

/// Names in a sentence, of many the first.
pub fn listed(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let more = names.len() - first.len();
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// The known name that is near enough to be what was meant.
pub fn did_you_mean_one_of<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let (slips, nearest) = known.iter().map(|k| (strsim::damerau_levenshtein(found, k), *k)).min()?;
    (slips <= (found.chars().count() / 3).max(1)).then_some(nearest)
}
