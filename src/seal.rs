//! Records that show when they have changed on disk: JSON whose last field is a hash of all that stands before it.

use std::io;

use serde::de::DeserializeOwned;

/// Stands before the hash.
const CHECK: &str = ",\n  \"check\": \"";
/// Stands after it.
const END: &str = "\"\n}\n";

/// Puts the hash into a JSON object that has some field already.
pub fn close(mut json: Vec<u8>) -> Vec<u8> {
    json.pop(); // the brace that closes it
    json.truncate(json.trim_ascii_end().len());
    let check = blake3::hash(&json).to_hex();
    json.extend(format!("{CHECK}{check}{END}").into_bytes());
    json
}

/// Reads what is as it was written. What older programs wrote has no hash, and only has to be readable.
///
/// # Errors
/// If it has changed, or is something else.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let value = serde_json::from_slice(bytes)?;
    let end = CHECK.len() + 2 * blake3::OUT_LEN + END.len();
    if let Some((rest, end)) = bytes.len().checked_sub(end).map(|at| bytes.split_at(at))
        && let Some(check) = end.strip_prefix(CHECK.as_bytes())
        && !check.starts_with(blake3::hash(rest).to_hex().as_bytes())
    {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its content has changed on disk"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn every_bit_counts() {
        let value = json!({ "a": { "b": [1.5, "c"] }, "seconds": 10 });
        for json in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            assert!(open::<Value>(&json).is_ok(), "as older programs wrote it");
            let closed = close(json);
            for bit in 0..closed.len() * 8 {
                let mut bytes = closed.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                // A bit in the name of the hash hides it, and nothing else has changed then.
                if let Ok(found) = open::<Value>(&bytes) {
                    assert_eq!((&found["a"], &found["seconds"]), (&value["a"], &value["seconds"]), "{bit}");
                }
            }
            let found: Value = open(&closed).unwrap();
            assert!(found["check"].is_string() && found["a"] == value["a"]);
        }
    }
}
