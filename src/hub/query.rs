//! A subscription's meaning: which views, which rows, and the name under which all who want the same share its bytes.
//!
//! Contract: a name is a channel (all its views) or a view. Filters are canonicalised: protocol names become column names,
//! fields are sorted, values sorted and made unique, so that the same wish has the same `filter_id` whoever utters it.
//! Views of a channel that lack a filter's column are left out and listed.
//!
//! # Failure
//! An unknown channel, field or value is an error that names it and what would be known.

use crate::hub::filter::Filter;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::protocol::FILTER_NAMES;
use weir_schemas::row::{Row, write_json_str};
use weir_schemas::view::{VIEWS, View, view, view_index};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// At most so many values in one filter.
const VALUES_MAX: usize = 1_000;

/// One view of a query.
#[derive(Clone, Debug)]
pub struct ViewQuery {
    /// The view.
    pub view: &'static View,
    /// Its number in frames.
    pub index: usize,
    pub(crate) filter: Filter,
}

impl ViewQuery {
    /// Whether a row of the view is wanted.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        self.filter.matches(row)
    }
}

/// A canonical subscription.
#[derive(Clone, Debug)]
pub struct Query {
    /// The channel or view that was asked for.
    pub channel: Arc<str>,
    /// The canonical filter's hash, as hex digits.
    pub filter_id: Arc<str>,
    /// The name by which batches call it: channel and hash.
    pub name: Arc<str>,
    /// Its views, in the order of frames.
    pub views: Vec<ViewQuery>,
    /// Views of the channel that lack a filter's column.
    pub excluded: Vec<&'static str>,
    /// Identifies the bytes that it is answered with.
    pub(crate) hash: u128,
    columns: Vec<&'static str>,
}

/// Why a query has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No channel or view has this name.
    #[error("unknown channel {name:?}; known: {}", known_names().join(", "))]
    UnknownChannel {
        /// The name.
        name: String,
    },
    /// No view has a column of this name that can be filtered on.
    #[error("unknown filter {field:?}; {channel} can be filtered by {}", known.join(", "))]
    UnknownFilter {
        /// The field.
        field: String,
        /// The channel.
        channel: String,
        /// What would be known.
        known: Vec<&'static str>,
    },
    /// None of the channel's views can be filtered by all of these.
    #[error("no view of {channel} can be filtered by {field:?}; it can be filtered by {}", known.join(", "))]
    NotApplicable {
        /// The field, or several.
        field: String,
        /// The channel.
        channel: String,
        /// What would be known.
        known: Vec<&'static str>,
    },
    /// A value that the field cannot have.
    #[error("{value} is no value of the filter {field:?}: expected {expected}")]
    InvalidValue {
        /// The field.
        field: String,
        /// The value.
        value: String,
        /// What it could be.
        expected: String,
    },
}

impl QueryError {
    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            QueryError::UnknownChannel { .. } => "unknown_channel",
            QueryError::UnknownFilter { .. } => "unknown_filter",
            QueryError::NotApplicable { .. } => "filter_not_applicable",
            QueryError::InvalidValue { .. } => "invalid_filter_value",
        }
    }
}

/// Filters by the name that was used, in any order.
pub type Filters = Vec<(String, Vec<String>)>;

/// Reads filters as they stand in `subscribe`: each a string, number or truth value, or a list of them.
///
/// # Errors
/// Another kind of value.
pub fn filters_from_json(filters: &Map<String, Value>) -> Result<Filters, QueryError> {
    let scalar = |field: &String, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(QueryError::InvalidValue {
            field: field.clone(),
            value: value.to_string(),
            expected: "a string or a list of strings".to_owned(),
        }),
    };
    let mut read = Filters::new();
    for (field, value) in filters {
        let values = match value {
            Value::Array(list) => list.iter().map(|value| scalar(field, value)).collect::<Result<_, _>>()?,
            single => vec![scalar(field, single)?],
        };
        read.push((field.clone(), values));
    }
    Ok(read)
}

impl Query {
    /// Finds out what a channel or view with filters means.
    ///
    /// # Errors
    /// What is unknown or does not fit, by name.
    pub fn new(channel: &str, filters: Filters) -> Result<Query, QueryError> {
        let candidates = views_of(channel);
        if candidates.is_empty() {
            return Err(QueryError::UnknownChannel { name: channel.to_owned() });
        }
        Query::over(channel, &candidates, filters)
    }

    /// Finds out what one view with filters means, also where a channel has its name.
    ///
    /// # Errors
    /// As [`Query::new`].
    ///
    /// # Panics
    /// When the view is not among `VIEWS`.
    pub fn of_view(view: &'static View, filters: Filters) -> Result<Query, QueryError> {
        let index = view_index(view.name).expect("it is one of the views");
        Query::over(view.name, &[(index, view)], filters)
    }

    /// One query for the rows of several views at one time, each with filters of its own.
    ///
    /// # Errors
    /// As [`Query::new`].
    ///
    /// # Panics
    /// When there is none, or one that is not among `VIEWS`.
    pub fn of_each(views: Vec<(&'static View, Filters)>) -> Result<Query, QueryError> {
        let mut queries = views.into_iter().map(|(view, filters)| Query::of_view(view, filters));
        let mut whole = queries.next().expect("one view at least")?;
        for query in queries {
            whole.views.extend(query?.views);
        }
        Ok(whole)
    }

    fn over(channel: &str, candidates: &[(usize, &'static View)], filters: Filters) -> Result<Query, QueryError> {
        let fields = canonical(channel, filters, candidates)?;
        let (mut views, mut excluded) = (Vec::new(), Vec::new());
        for (index, view) in candidates.iter().copied() {
            let mut filter = Filter::default();
            let mut lacking = false;
            for (column, field) in &fields {
                match view.column(column).filter(|index| view.filterable(*index)) {
                    Some(index) => filter.add(view, index, &field.values).map_err(|bad| QueryError::InvalidValue {
                        field: field.name.clone(),
                        value: format!("{:?}", bad.value),
                        expected: bad.expected,
                    })?,
                    None => lacking = true,
                }
            }
            if lacking {
                excluded.push(view.name);
            } else {
                views.push(ViewQuery { view, index, filter });
            }
        }
        if views.is_empty() {
            let names: Vec<&str> = fields.values().map(|field| field.name.as_str()).collect();
            return Err(not_applicable(names.join(", "), channel, candidates));
        }
        let text = canonical_text(&fields);
        let filter_id = format!("{:016x}", xxh3_64(text.as_bytes()));
        let name = format!("{channel}:{filter_id}");
        Ok(Query {
            channel: channel.into(),
            hash: xxh3_128(format!("{channel}\n{}\n{text}", candidates.len()).as_bytes()),
            name: name.into(),
            filter_id: filter_id.into(),
            views,
            excluded,
            columns: fields.into_keys().collect(),
        })
    }

    /// The filters that it does not have yet and that would narrow it.
    #[must_use]
    pub fn narrowing(&self) -> Vec<&'static str> {
        let mut names = filterable(self.views.iter().map(|query| query.view));
        names.retain(|name| !self.columns.contains(name));
        names
    }
}

struct Field {
    /// As it was called.
    name: String,
    values: Vec<String>,
}

/// Fields by column, values sorted and unique.
fn canonical(
    channel: &str,
    filters: Filters,
    candidates: &[(usize, &'static View)],
) -> Result<BTreeMap<&'static str, Field>, QueryError> {
    let mut fields = BTreeMap::new();
    for (name, mut values) in filters {
        let invalid = |value: &str, expected: &str| QueryError::InvalidValue {
            field: name.clone(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        let wanted = FILTER_NAMES.iter().find(|(protocol, _)| *protocol == name).map_or(name.as_str(), |(_, own)| own);
        let Some(column) = filterable(candidates.iter().map(|(_, view)| *view)).into_iter().find(|own| *own == wanted)
        else {
            return Err(if filterable(VIEWS.iter().copied()).contains(&wanted) {
                not_applicable(name, channel, candidates)
            } else {
                let known = filterable(candidates.iter().map(|(_, view)| *view));
                QueryError::UnknownFilter { field: name, channel: channel.to_owned(), known }
            });
        };
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            return Err(invalid("[]", "at least one value"));
        }
        if values.len() > VALUES_MAX {
            return Err(invalid("the list", &format!("at most {VALUES_MAX} values")));
        }
        if fields.contains_key(column) {
            return Err(invalid("the field", &format!("{column} once, by one of its names")));
        }
        fields.insert(column, Field { name, values });
    }
    Ok(fields)
}

fn canonical_text(fields: &BTreeMap<&'static str, Field>) -> String {
    let mut text = String::new();
    for (column, field) in fields {
        text.push_str(column);
        for value in &field.values {
            text.push(' ');
            write_json_str(value, &mut text);
        }
        text.push('\n');
    }
    text
}

fn not_applicable(field: String, channel: &str, candidates: &[(usize, &'static View)]) -> QueryError {
    let known = filterable(candidates.iter().map(|(_, view)| *view));
    QueryError::NotApplicable { field, channel: channel.to_owned(), known }
}

/// The views that a name means: a channel's, else the one of that name.
fn views_of(name: &str) -> Vec<(usize, &'static View)> {
    let numbered = || VIEWS.iter().copied().enumerate();
    let of_channel: Vec<_> = numbered().filter(|(_, view)| view.channel == name).collect();
    if of_channel.is_empty() { numbered().filter(|(_, view)| view.name == name).collect() } else { of_channel }
}

/// The columns of any of these views that can be filtered on.
fn filterable(views: impl Iterator<Item = &'static View>) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for view in views {
        for (index, column) in view.columns.iter().enumerate() {
            if view.filterable(index) && !names.contains(&column.name) {
                names.push(column.name);
            }
        }
    }
    names
}

fn known_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = VIEWS.iter().map(|view| view.channel).collect();
    names.sort_unstable();
    names.dedup();
    names.extend(VIEWS.iter().map(|view| view.name).filter(|name| view(name).is_some()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(channel: &str, filters: Value) -> Result<Query, QueryError> {
        let Value::Object(filters) = filters else { panic!("an object") };
        Query::new(channel, filters_from_json(&filters)?)
    }

    fn code(channel: &str, filters: Value) -> (&'static str, String) {
        let error = query(channel, filters).expect_err("is refused");
        (error.code(), error.to_string())
    }

    #[test]
    fn the_same_wish_has_the_same_name() {
        let one = query("test_case_results", json!({"runId": ["b", "a", "a"], "project": "web"})).expect("is known");
        let other = query("test_case_results", json!({"project": ["web"], "run": ["a", "b"]})).expect("is known");
        assert_eq!((&one.name, one.hash), (&other.name, other.hash));
        let third = query("test_case_results", json!({"project": ["web"], "run": ["a"]})).expect("is known");
        assert_ne!(one.filter_id, third.filter_id);
        let by_view = query("test_results", json!({"project": ["web"], "run": ["a"]})).expect("is known");
        assert_eq!(by_view.filter_id, third.filter_id);
        assert_ne!(by_view.name, third.name);
    }

    #[test]
    fn views_without_the_column_are_left_out() {
        let query = query("test_suite_progress", json!({"testSuiteId": "unit"})).expect("applies to one");
        assert_eq!(query.views.iter().map(|query| query.view.name).collect::<Vec<_>>(), ["suite_progress"]);
        assert_eq!(query.excluded, ["run_progress", "missing"]);
        assert!(query.narrowing().contains(&"run") && !query.narrowing().contains(&"suite"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (channel, filters, expected, named) in [
            ("no_such", json!({}), "unknown_channel", "\"no_such\""),
            ("run_progress", json!({"colour": "red"}), "unknown_filter", "\"colour\""),
            ("run_progress", json!({"finished": "3"}), "unknown_filter", "\"finished\""),
            ("run_progress", json!({"tags": "db"}), "filter_not_applicable", "\"tags\""),
            ("test_suite_progress", json!({"worker": "w", "suite": "s"}), "filter_not_applicable", "suite, worker"),
            ("test_results", json!({"outcome": ["failed", "odd"]}), "invalid_filter_value", "\"odd\""),
            ("test_results", json!({"severity": "bad"}), "invalid_filter_value", "info, warning, error"),
            ("test_results", json!({"flaky": "maybe"}), "invalid_filter_value", "true or false"),
            ("test_results", json!({"run": []}), "invalid_filter_value", "at least one"),
            ("test_results", json!({"run": {"a": 1}}), "invalid_filter_value", "a string or a list"),
            ("test_results", json!({"run": "a", "runId": "b"}), "invalid_filter_value", "once"),
            ("rejects", json!({"offset": "x"}), "invalid_filter_value", "an integer"),
        ] {
            let (code, message) = code(channel, filters.clone());
            assert_eq!(code, expected, "{filters}: {message}");
            assert!(message.contains(named), "{filters}: {message}");
        }
    }

    #[test]
    fn scopes_are_those_of_the_view() {
        assert!(query("performance", json!({"scope": "test"})).is_ok());
        assert!(query("performance_summary", json!({"scope": ["suite", "test"]})).is_ok());
        assert_eq!(code("performance", json!({"scope": "branch"})).0, "invalid_filter_value");
        assert_eq!(code("live_metrics", json!({"scope": "test"})).0, "invalid_filter_value");
    }

    #[test]
    fn key_conditions_narrow_the_walk() {
        let ranges = |filters| {
            let query = query("test_results", filters).expect("is known");
            query.views[0].filter.ranges(query.views[0].view).len()
        };
        assert_eq!(ranges(json!({"project": ["a", "b"], "run": ["x", "y", "z"], "outcome": "failed"})), 6);
        assert_eq!(ranges(json!({"run": ["x", "y"]})), 1, "the project is not known");
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(ranges(json!({"project": "a", "run": many})), 1, "too many: one range for the project");
    }
}
