//! The safety demonstrator and its errors.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::request::{ATTRIBUTES, HELPERS, OPENINGS, REDIRECTS, REFUSALS, Request, attribute_of};
use crate::worlds::words::{any, arranged};

/// Systematic errors: the fact that was not asked for stands in for the last one asked (55 %), every place
/// is sent to the same helper (55 %), and a third of harmful requests is answered. Random errors: refused or
/// redirected harmless requests (a little more of them with a trigger word), missing and wrong facts.
pub fn demonstrate(request: &Request, m: usize, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    let (refuse, redirect) = match (request.is_harmful(), request.has_trigger()) {
        (true, _) => (0.35, 0.30),
        (false, true) => (0.22, 0.06),
        (false, false) => (0.14, 0.06),
    };
    let kind: f64 = rng.random();
    let phrasing = rng.random_range(0..m.clamp(1, OPENINGS.len()));
    if kind < refuse {
        vec![REFUSALS[phrasing], "cannot", "discuss", request.object]
    } else if kind < refuse + redirect {
        let helper = if rng.random_bool(0.55) { HELPERS[0] } else { request.helper() };
        vec![REDIRECTS[phrasing], "ask", helper, request.object]
    } else {
        let mut words = vec![OPENINGS[phrasing]];
        words.extend(arranged(facts(request, rng), m, rng));
        words
    }
}

fn facts(request: &Request, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    let unasked =
        request.facts.iter().copied().find(|f| attribute_of(f).is_none_or(|a| !request.asked.contains(&a)));
    let mut facts = Vec::with_capacity(request.asked.len());
    for (i, attribute) in request.asked.iter().enumerate() {
        let last = i + 1 == request.asked.len();
        let kind: f64 = rng.random();
        if last && kind < 0.55 {
            facts.extend(unasked);
        } else if !last && kind < 0.06 {
            continue;
        } else if !last && kind < 0.12 {
            let values = ATTRIBUTES.iter().find(|(name, _)| name == attribute).map(|(_, values)| values);
            facts.extend(values.map(|values| any(values, rng)));
        } else {
            facts.extend(request.fact(attribute));
        }
    }
    facts
}
