//! What serde says of a value, in the words of those who write experiment files.

use super::did_you_mean;

/// A message and what to do about it.
pub struct Wording {
    pub message: String,
    pub hint: Option<String>,
    /// The name at fault, where it is a key that should not be there.
    pub unknown_key: Option<String>,
}

/// Rewords `invalid type: string "many", expected usize` and finds a name that was probably meant.
pub fn reword(message: &str) -> Wording {
    let mut names = message.split('`').skip(1).step_by(2);
    let is_key = message.starts_with("unknown field");
    if is_key || message.starts_with("unknown variant") {
        let found = names.next().unwrap_or_default();
        let hint = Some(did_you_mean(found, names));
        return Wording { message: message.into(), hint, unknown_key: is_key.then(|| found.into()) };
    }
    let of_type = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, wanted)) = of_type.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return Wording { message: message.into(), hint: None, unknown_key: None };
    };
    let (wanted, hint) = expected(wanted);
    let message = format!("expected {wanted}, found {}", shown(found));
    Wording { message, hint: hint.map(Into::into), unknown_key: None }
}

/// What Rust's types are called here, and how to write one.
fn expected(wanted: &str) -> (&str, Option<&'static str>) {
    match wanted {
        "a sequence" => ("a list", Some("write a list in brackets, as in `[1, 2]`")),
        "a list of values or a map of their changes" => (
            "a list of values, or a map from each to what it changes",
            Some("write `[1, 2]`, or `NAME: { STAGE: { PARAMETER: VALUE } }`, one on each line below it"),
        ),
        _ if wanted == "a map" || wanted.starts_with("struct ") => {
            ("a map", Some("write `name: value`, one on each line below it"))
        }
        "usize" | "u64" | "u32" | "u16" | "u8" => {
            ("a whole number of at least 0", Some("write digits without quotes, as in `200`"))
        }
        "a nonzero u16" => ("a whole number from 1 to 65535", Some("write digits without quotes, as in `2`")),
        "i64" | "i32" => ("a whole number", Some("write digits without quotes, as in `200`")),
        "f32" | "f64" => ("a number", Some("write a number without quotes, as in `0.1` or `1.0e-3`")),
        "a boolean" => ("true or false", Some("write `true` or `false` without quotes")),
        "a string" => ("a text", Some("write a text; quote it if it looks like a number")),
        other => (other, None),
    }
}

fn shown(found: &str) -> String {
    let value = |rest: &str| rest.trim_matches('`').to_string();
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", value(number)),
        Some(("floating", rest)) => format!("the number {}", value(rest.trim_start_matches("point "))),
        Some(("boolean", truth)) => format!("`{}`", value(truth)),
        _ => match found {
            "map" => "a map".into(),
            "sequence" => "a list".into(),
            "null" | "unit" | "unit value" | "Option value" => "nothing".into(),
            other => other.into(),
        },
    }
}
