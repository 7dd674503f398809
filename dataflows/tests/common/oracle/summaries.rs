//! The views `suite_summary`, `coverage_overview` and `performance_summary`: columns of other oracles' rows at their own points.

use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::View;

/// Those columns of `rows` that `view` has, of the rows that have a word in a column, where one is named.
pub fn rows(base: &View, rows: Vec<Row>, view: &View, only: Option<(&str, &str)>) -> Vec<Row> {
    let value = |row: &Row, name: &str| -> Option<Result<i64, String>> {
        let column = base.columns.iter().position(|column| column.name == name).expect("a column of the base");
        match row.values().nth(column).expect("a value") {
            Value::Null => None,
            Value::Int(number) => Some(Ok(number)),
            Value::Str(text) => Some(Err(text.to_owned())),
            other => panic!("{name} is {other:?}"),
        }
    };
    let wanted = |row: &&Row| only.is_none_or(|(name, word)| value(row, name) == Some(Err(word.to_owned())));
    let row = |row: &Row| {
        let mut writer = RowWriter::default();
        for column in view.columns {
            match value(row, column.name) {
                None => writer.null(),
                Some(Ok(number)) => writer.int(number),
                Some(Err(text)) => writer.str(&text),
            };
        }
        writer.finish(view)
    };
    rows.iter().filter(wanted).map(row).collect()
}
