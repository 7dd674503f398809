//! What a subscription wants of one view: conditions on its columns.
//!
//! Contract: AND over columns, OR inside a list; `severity` means at least; a list column matches when it holds any of the
//! values. Null matches nothing. A condition on leading key columns also gives the ranges of keys that can match, so a
//! snapshot of one run does not walk over all runs.
//!
//! # Cost
//! Matching walks over the row's columns up to the last one with a condition: 5 to 10 ns a column.

use weir_schemas::protocol::enum_words;
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::{Kind, View};

/// More ranges of keys than this are one: the whole view.
const RANGES_MAX: usize = 64;

/// A condition on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// One of these texts; for a list, any of them.
    Text(Vec<String>),
    /// One of these words or a later one in the column's list of words.
    AtLeast(&'static [&'static str]),
    Bool(Vec<bool>),
    Int(Vec<i64>),
}

/// Conditions on the columns of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// By column, ascending.
    conditions: Vec<(usize, Condition)>,
}

/// A value that its column cannot have, and what it can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) value: String,
    pub(crate) expected: String,
}

impl Filter {
    /// Adds a condition; `values` are sorted, without repetition and not empty.
    pub(crate) fn add(&mut self, view: &View, column: usize, values: &[String]) -> Result<(), BadValue> {
        let condition = Condition::parse(view, column, values)?;
        let at = self.conditions.partition_point(|(known, _)| *known < column);
        self.conditions.insert(at, (column, condition));
        Ok(())
    }

    /// Whether a row is wanted.
    pub(crate) fn matches(&self, row: &Row) -> bool {
        let mut values = row.values().enumerate();
        self.conditions.iter().all(|(column, condition)| {
            let value = values.find(|(index, _)| index == column).map(|(_, value)| value);
            condition.holds(value.unwrap_or(Value::Null))
        })
    }

    /// Prefixes of the keys that can match, ascending and disjoint; one empty prefix for the whole view.
    pub(crate) fn ranges(&self, view: &View) -> Vec<Box<[u8]>> {
        let mut prefixes: Vec<Vec<&str>> = vec![Vec::new()];
        for (position, (column, condition)) in self.conditions.iter().enumerate() {
            let Condition::Text(texts) = condition else { break };
            let leading = *column == position && position < view.key && view.columns[position].kind != Kind::List;
            if !leading || prefixes.len() * texts.len() > RANGES_MAX {
                break;
            }
            let mut longer = Vec::with_capacity(prefixes.len() * texts.len());
            for prefix in &prefixes {
                longer.extend(texts.iter().map(|text| [prefix.as_slice(), &[text.as_str()]].concat()));
            }
            prefixes = longer;
        }
        let mut writer = RowWriter::default();
        let mut encoded: Vec<Box<[u8]>> = prefixes
            .iter()
            .map(|prefix| {
                for text in prefix {
                    writer.str(text);
                }
                writer.take_prefix()
            })
            .collect();
        encoded.sort_unstable();
        encoded
    }
}

impl Condition {
    fn parse(view: &View, column: usize, values: &[String]) -> Result<Condition, BadValue> {
        let bad = |value: &String, expected: &str| BadValue { value: value.clone(), expected: expected.to_owned() };
        let parsed = match view.columns[column].kind {
            Kind::Bool => Condition::Bool(
                values
                    .iter()
                    .map(|value| value.parse().map_err(|_| bad(value, "true or false")))
                    .collect::<Result<_, _>>()?,
            ),
            Kind::Int | Kind::Time | Kind::Duration | Kind::Ratio => Condition::Int(
                values
                    .iter()
                    .map(|value| value.parse().map_err(|_| bad(value, "an integer")))
                    .collect::<Result<_, _>>()?,
            ),
            Kind::Str | Kind::List => Condition::Text(values.to_vec()),
            Kind::Enum => return Condition::words(view.name, view.columns[column].name, values),
        };
        Ok(parsed)
    }

    fn words(view: &str, name: &str, values: &[String]) -> Result<Condition, BadValue> {
        let Some(words) = enum_words(view, name) else { return Ok(Condition::Text(values.to_vec())) };
        let mut least = words.len();
        for value in values {
            let Some(rank) = words.iter().position(|word| word == value) else {
                return Err(BadValue { value: value.clone(), expected: format!("one of {}", words.join(", ")) });
            };
            least = least.min(rank);
        }
        Ok(if name == "severity" { Condition::AtLeast(&words[least..]) } else { Condition::Text(values.to_vec()) })
    }

    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Condition::Text(wanted), Value::Str(text)) => among(wanted, text),
            (Condition::Text(wanted), Value::List(list)) => list.iter().any(|text| among(wanted, text)),
            (Condition::AtLeast(words), Value::Str(text)) => words.contains(&text),
            (Condition::Bool(wanted), Value::Bool(value)) => wanted.contains(&value),
            (Condition::Int(wanted), Value::Int(value)) => wanted.contains(&value),
            _ => false,
        }
    }
}

fn among(wanted: &[String], text: &str) -> bool {
    match wanted {
        [one] => one == text,
        several => several.binary_search_by(|probe| probe.as_str().cmp(text)).is_ok(),
    }
}
