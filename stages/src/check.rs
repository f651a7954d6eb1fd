//! Checks of parameters that stages share.

use crate::contract::ParamError;

/// Refuses a value outside `[low, high]`, and NaN.
pub fn in_range<T: PartialOrd + std::fmt::Display>(
    path: impl Into<String>,
    value: T,
    low: T,
    high: T,
) -> Result<(), ParamError> {
    if low <= value && value <= high {
        return Ok(());
    }
    let path = path.into();
    let message = format!("`{path}` must lie between {low} and {high}, found {value}");
    Err(ParamError::new(path, message))
}
