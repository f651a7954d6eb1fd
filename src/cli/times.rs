//! Times, as people read them.

use chrono::DateTime;

/// `2026-11-28 00:57:45 UTC`, of seconds since 1970: any, since a record may have been damaged or come from elsewhere.
pub fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or("unknown".into(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}
