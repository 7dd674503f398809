//! Rows as clients see them, read back: into the schema's encoding, so that a client's rows have a digest, and against
//! filters, written anew from the protocol's page without the hub's code.

use serde_json::{Map, Value};
use weir_schemas::row::{Row, RowWriter, Value as Cell};
use weir_schemas::view::{Kind, View};

/// A row of JSON as a row of its view.
pub(crate) fn row_of(view: &View, values: &[Value]) -> Row {
    let mut writer = RowWriter::default();
    for (value, column) in values.iter().zip(view.columns) {
        match (value, column.kind) {
            (Value::Null, _) => writer.null(),
            (Value::Bool(flag), Kind::Bool) => writer.bool(*flag),
            (Value::Number(_), Kind::Int | Kind::Time) => writer.int(value.as_i64().expect("an integer")),
            (Value::Number(_), Kind::Duration) => writer.int(scaled(value, 1e3)),
            (Value::Number(_), Kind::Ratio) => writer.int(scaled(value, 1e6)),
            (Value::String(text), Kind::Str | Kind::Enum) => writer.str(text),
            (Value::Array(list), Kind::List) => writer.list(list.iter().map(|text| text.as_str().expect("a text"))),
            _ => panic!("view {}, column {}: {value}", view.name, column.name),
        };
    }
    writer.finish(view)
}

#[expect(clippy::cast_possible_truncation, reason = "values of tests are far below 2⁵³")]
fn scaled(value: &Value, unit: f64) -> i64 {
    (value.as_f64().expect("a number") * unit).round() as i64
}

/// Whether a row is wanted.
pub(crate) fn wanted(view: &View, row: &Row, filters: &Map<String, Value>) -> bool {
    filters.iter().all(|(name, value)| {
        let name = match name.as_str() {
            "runId" => "run",
            "testSuiteId" => "suite",
            "testFramework" => "framework",
            "userId" => "user",
            own => own,
        };
        let values: Vec<String> = match value {
            Value::Array(list) => list.iter().map(|value| value.as_str().expect("a string").to_owned()).collect(),
            other => vec![other.as_str().map_or_else(|| other.to_string(), str::to_owned)],
        };
        let column = view.columns.iter().position(|column| column.name == name).expect("the view has it");
        admits(name, row.column(column), &values)
    })
}

/// Whether a column's value is one of those that a filter names.
pub(crate) fn admits(name: &str, cell: Cell<'_>, values: &[String]) -> bool {
    let severity = |word: &str| ["info", "warning", "error"].iter().position(|known| *known == word);
    values.iter().any(|value| match cell {
        Cell::Str(text) if name == "severity" => severity(text) >= severity(value),
        Cell::Str(text) => text == value,
        Cell::Bool(flag) => flag.to_string() == *value,
        Cell::Int(number) => number.to_string() == *value,
        Cell::List(list) => list.iter().any(|text| text == value),
        Cell::Null => false,
    })
}
