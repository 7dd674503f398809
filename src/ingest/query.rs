//! Parameters of a request's query, by name.
//!
//! Contract: a parameter that is not known, comes twice or has a bad value is refused with its name: a typing error must
//! not become a default in silence.

use super::refusal::Refusal;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes the pairs of a query; all of `known`, each at most once.
    pub(super) fn new(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Parameters, Refusal> {
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let remedy = format!("known are: {}", known.join(", "));
                return Err(Refusal::Query { field: name, problem: "unknown parameter".to_owned(), remedy });
            }
            if parameters.insert(name.clone(), value).is_some() {
                let remedy = "give it once".to_owned();
                return Err(Refusal::Query { field: name, problem: "given twice".to_owned(), remedy });
            }
        }
        Ok(Parameters(parameters))
    }

    /// The text of a parameter; an empty one counts as absent, as scripts pass unset variables.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// The value of a parameter.
    pub(super) fn value<T: FromStr>(&mut self, name: &str, remedy: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Refusal::Query {
            field: name.to_owned(),
            problem: format!("`{text}` cannot be understood"),
            remedy: remedy.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_parameters_come_through() {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let known = ["run", "attempt"];
        let mut good = Parameters::new(pairs(&[("run", "r"), ("attempt", "2")]), &known).expect("is known");
        assert_eq!(good.text("run").as_deref(), Some("r"));
        assert_eq!(good.value::<u32>("attempt", "").expect("is a number"), Some(2));
        for bad in [pairs(&[("rum", "r")]), pairs(&[("run", "r"), ("run", "s")])] {
            assert!(matches!(Parameters::new(bad, &known), Err(Refusal::Query { .. })));
        }
        let mut empty = Parameters::new(pairs(&[("run", ""), ("attempt", "two")]), &known).expect("is known");
        assert_eq!(empty.text("run"), None);
        assert!(matches!(empty.value::<u32>("attempt", ""), Err(Refusal::Query { field, .. }) if field == "attempt"));
    }
}
