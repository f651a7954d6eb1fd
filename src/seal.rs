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

/// Reads what is as it was written.
///
/// # Errors
/// If it has changed, by a bit or a space, or is something else.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let end = CHECK.len() + 2 * blake3::OUT_LEN + END.len();
    let is_whole =
        bytes.len().checked_sub(end).map(|at| bytes.split_at(at)).is_some_and(|(rest, end)| {
            end == format!("{CHECK}{}{END}", blake3::hash(rest).to_hex()).as_bytes()
        });
    if is_whole {
        Ok(serde_json::from_slice(bytes)?)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "its content has changed on disk"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn every_bit_counts() {
        let value = json!({ "a": { "b": [1.5, "c"] }, "seconds": 10 });
        for json in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            assert!(open::<Value>(&json).is_err(), "it has no hash");
            let closed = close(json);
            for bit in 0..closed.len() * 8 {
                let mut bytes = closed.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(open::<Value>(&bytes).is_err(), "{bit}");
            }
            assert!(open::<Value>(&[&closed[..], b"\n"].concat()).is_err());
            let found: Value = open(&closed).unwrap();
            assert!(found["check"].is_string() && found["a"] == value["a"]);
        }
    }
}
