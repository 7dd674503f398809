//! The options of a subscription that this server understands.
//!
//! Contract: `format: "array"` and `snapshot: true` are how it is anyway, and so are the values of other known options that
//! ask for nothing (`throttleMs: 0`, `aggregateResults: false`, `patch: false`). Anything else is refused by name, so that
//! nobody believes to have what they do not get.

use serde_json::{Map, Value};

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    /// Known, and not to be had here.
    #[error("the option {name}: {value} is not supported by this server")]
    Unsupported { name: String, value: String },
    /// Not known.
    #[error("unknown option {name:?}; known: bufferSize, throttleMs, aggregateResults, format, patch, snapshot")]
    Unknown { name: String },
    /// Known, with a value that it cannot have.
    #[error("{value} is no value of the option {name:?}: expected {expected}")]
    InvalidValue { name: String, value: String, expected: &'static str },
}

impl OptionError {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            OptionError::Unsupported { .. } => "unsupported_option",
            OptionError::Unknown { .. } => "unknown_option",
            OptionError::InvalidValue { .. } => "invalid_option",
        }
    }
}

/// Refuses what is not understood.
pub(crate) fn check(options: &Map<String, Value>) -> Result<(), OptionError> {
    for (name, value) in options {
        let fits = match name.as_str() {
            "bufferSize" => kind(value.is_u64(), false, "a number of changes"),
            "throttleMs" => kind(value.is_u64(), value == 0, "a number of milliseconds"),
            "aggregateResults" | "patch" => kind(value.is_boolean(), value == false, "true or false"),
            "snapshot" => kind(value.is_boolean(), value == true, "true or false"),
            "format" => kind(value == "array" || value == "diff", value == "array", "\"array\" or \"diff\""),
            _ => return Err(OptionError::Unknown { name: name.clone() }),
        };
        match fits {
            Fit::AsItIs => {}
            Fit::Asks => return Err(OptionError::Unsupported { name: name.clone(), value: value.to_string() }),
            Fit::No(expected) => {
                return Err(OptionError::InvalidValue { name: name.clone(), value: value.to_string(), expected });
            }
        }
    }
    Ok(())
}

enum Fit {
    AsItIs,
    Asks,
    No(&'static str),
}

fn kind(possible: bool, as_it_is: bool, expected: &'static str) -> Fit {
    match (possible, as_it_is) {
        (false, _) => Fit::No(expected),
        (true, true) => Fit::AsItIs,
        (true, false) => Fit::Asks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_asks_for_more_is_refused_by_name() {
        for (options, code) in [
            (json!({}), None),
            (json!({"format": "array", "snapshot": true, "throttleMs": 0, "patch": false}), None),
            (json!({"bufferSize": 256}), Some("unsupported_option")),
            (json!({"throttleMs": 250}), Some("unsupported_option")),
            (json!({"aggregateResults": true}), Some("unsupported_option")),
            (json!({"patch": true}), Some("unsupported_option")),
            (json!({"format": "diff"}), Some("unsupported_option")),
            (json!({"snapshot": false}), Some("unsupported_option")),
            (json!({"format": "xml"}), Some("invalid_option")),
            (json!({"throttleMs": "soon"}), Some("invalid_option")),
            (json!({"colour": 1}), Some("unknown_option")),
        ] {
            let Value::Object(map) = &options else { panic!("an object") };
            let result = check(map);
            assert_eq!(result.as_ref().err().map(OptionError::code), code, "{options}");
            if let Err(error) = result {
                assert!(map.keys().any(|name| error.to_string().contains(name.as_str())), "{error}");
            }
        }
    }
}
