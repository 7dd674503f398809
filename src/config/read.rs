//! From a TOML text and the environment to a [`Config`], gathering problems key by key.
//!
//! Contract: the defaults, written out as a table, say which keys exist and of what type they are. Each key that the file or
//! the environment gives is tried on its own, so one wrong value hides no other.

use super::{Config, Loaded, Problem};
use std::collections::BTreeMap;
use toml::de::DeTable;
use toml::{Table, Value};

/// The prefix of environment variables that override keys.
const PREFIX: &str = "WEIR_";

pub(super) fn read(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Vec<Problem>> {
    let mut draft = Draft::new();
    let lines = key_lines(text)?;
    let file: Table = match text.parse() {
        Ok(file) => file,
        Err(error) => return Err(vec![syntax(text, &error)]),
    };
    for (section, content) in file {
        draft.section(&section, content);
    }
    draft.environment(environment);
    let Draft { config, mut problems, notices, .. } = draft;
    if let Err(more) = config.validate() {
        let known: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
        problems.extend(more.into_iter().filter(|problem| !known.contains(&problem.key)));
    }
    for problem in &mut problems {
        problem.line = lines.get(&problem.key).copied();
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    if problems.is_empty() { Ok(Loaded { config, notices }) } else { Err(problems) }
}

/// The configuration so far, as a table and as a tree.
struct Draft {
    table: Table,
    config: Config,
    problems: Vec<Problem>,
    notices: Vec<String>,
}

impl Draft {
    fn new() -> Draft {
        let config = Config::default();
        let table = Table::try_from(&config).expect("the defaults can be written as TOML");
        Draft { table, config, problems: Vec::new(), notices: Vec::new() }
    }

    fn section(&mut self, section: &str, content: Value) {
        let Some(known) = self.table.get(section).and_then(Value::as_table) else {
            let near = nearest(section, self.table.keys());
            self.problems.push(Problem::new(section, format!("unknown section{near}")));
            return;
        };
        let keys: Vec<String> = known.keys().cloned().collect();
        let Value::Table(content) = content else {
            self.problems.push(Problem::new(section, "this is a section: write it as a table with keys"));
            return;
        };
        for (key, value) in content {
            let path = format!("{section}.{key}");
            if keys.contains(&key) {
                self.try_value(section, &key, value, path);
            } else {
                let near = nearest(&key, keys.iter());
                self.problems.push(Problem::new(path, format!("unknown key{near}")));
            }
        }
    }

    /// Takes a value over if the tree can hold it.
    fn try_value(&mut self, section: &str, key: &str, value: Value, named: String) {
        let mut table = self.table.clone();
        if let Some(section) = table.get_mut(section).and_then(Value::as_table_mut) {
            section.insert(key.to_owned(), value);
        }
        match Value::Table(table.clone()).try_into::<Config>() {
            Ok(config) => {
                self.table = table;
                self.config = config;
            }
            Err(error) => self.problems.push(Problem::new(named, error.message().trim())),
        }
    }

    fn environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let mut given: BTreeMap<String, String> =
            environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let keys: Vec<(String, String)> = self
            .table
            .iter()
            .filter_map(|(section, content)| Some((section, content.as_table()?)))
            .flat_map(|(section, content)| content.keys().map(|key| (section.clone(), key.clone())))
            .collect();
        for (section, key) in keys {
            let name = format!("{PREFIX}{section}_{key}").to_ascii_uppercase();
            let Some(text) = given.remove(&name) else { continue };
            match typed(&text, &self.table[&section][&key]) {
                Ok(value) => self.try_value(&section, &key, value, name),
                Err(message) => self.problems.push(Problem::new(name, message)),
            }
        }
        for name in given.into_keys() {
            let section = name[PREFIX.len()..].split('_').next().unwrap_or_default().to_ascii_lowercase();
            if self.table.contains_key(&section) {
                self.notices.push(format!("the environment variable {name} is not a configuration key and is ignored"));
            }
        }
    }
}

/// `name=value` pairs with commas between.
fn pairs(text: &str) -> Result<Value, String> {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), Value::from(value.trim()))),
        None => Err(format!("`{pair}` is not name=value")),
    };
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(pair)
        .collect::<Result<Table, _>>()
        .map(Value::Table)
}

/// An environment variable's text as a value of the type of `like`. Lists are separated by commas.
fn typed(text: &str, like: &Value) -> Result<Value, String> {
    match like {
        Value::Integer(_) => {
            text.trim().parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a whole number"))
        }
        Value::Boolean(_) => {
            text.trim().parse().map(Value::Boolean).map_err(|_| format!("`{text}` is neither true nor false"))
        }
        Value::Table(_) => pairs(text),
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()))
        }
        _ => Ok(Value::from(text)),
    }
}

/// The line of each section and key of the file.
fn key_lines(text: &str) -> Result<BTreeMap<String, usize>, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(text, error)).collect());
    }
    let mut lines = BTreeMap::new();
    for (section, content) in table.get_ref() {
        lines.insert(section.get_ref().to_string(), line_of(text, section.span().start));
        for (key, _) in content.get_ref().as_table().into_iter().flatten() {
            let path = format!("{}.{}", section.get_ref(), key.get_ref());
            lines.insert(path, line_of(text, key.span().start));
        }
    }
    Ok(lines)
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().map(|span| line_of(text, span.start));
    Problem { key: String::new(), line, message: format!("not TOML: {}", error.message().trim().replace('\n', ", ")) }
}

fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// `, did you mean …?` when some known name is close.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, candidate)| format!(", did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// The edit distance of two short names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
