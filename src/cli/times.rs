//! Times, as people read them.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Utc};

/// `2026-11-28 00:57:45 UTC`, of seconds since 1970.
pub fn time(seconds: u64) -> String {
    let time: DateTime<Utc> = (UNIX_EPOCH + Duration::from_secs(seconds)).into();
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
