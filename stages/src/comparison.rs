//! Who wins.

/// 1 for a win of the first, 0.5 for a tie, 0 for a loss.
pub fn wins(first: f32, second: f32) -> f32 {
    if first > second {
        1.0
    } else if first < second {
        0.0
    } else {
        0.5
    }
}
