//! Data-driven tests of the views: `tests/views/<view>.td`, and `<view>.<case>.td` for what needs a configuration of its own.
//!
//! `config` is followed by the values that are not the defaults, as JSON.
//! `ingest` is followed by TestEvents, one a line, `say` by control records; `advance T` binds them at tick T (ms after the file's beginning, a multiple
//! of 10) and runs up to there; `expect VIEW` is followed by the view's net changes in the frames since the `advance` before,
//! `+` or `-` with the cause of a leave. `WEIR_REWRITE=1` writes what came; review the diff.

mod common;

use common::{Feeding, Tick, json, run};
use std::fmt::Write as _;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::control::ControlInput;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_dataflows::output::Released;
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::update::Cause;
use weir_schemas::view::{VIEWS, view, view_index};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/views");

/// A file as blocks: a command with its argument, and the lines under it.
struct Block<'a> {
    head: &'a str,
    body: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in text.lines() {
        let command = ["config", "ingest", "say", "advance ", "expect ", "#"].iter().any(|word| line.starts_with(word))
            || line.is_empty();
        match blocks.last_mut() {
            Some(block) if !command => block.body.push(line),
            _ => blocks.push(Block { head: line, body: Vec::new() }),
        }
    }
    blocks
}

/// The defaults, but for what the file says.
fn config(blocks: &[Block<'_>]) -> Config {
    let mut config = serde_json::to_value(Config::default()).expect("values");
    for line in blocks.iter().filter(|block| block.head == "config").flat_map(|block| &block.body) {
        let other: serde_json::Map<_, _> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for (key, value) in other {
            assert!(config.get(&key).is_some(), "{key}: no such value");
            config[&key] = value;
        }
    }
    serde_json::from_value(config).expect("values of the configuration")
}

fn ticks(blocks: &[Block<'_>]) -> Vec<Tick> {
    let (mut ticks, mut waiting, mut said, mut offset) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for block in blocks {
        if block.head == "ingest" {
            for line in &block.body {
                let event: TestEvent<'_> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                let position = Position { offset, ..Position::default() };
                let event = Event::new(&event, position, &Limits::default(), &mut Interner::default());
                waiting.push(Input::Event(Arc::new(event)));
                offset += 1;
            }
        } else if block.head == "say" {
            for line in &block.body {
                let record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                let position = Position { topic: 1, offset, ..Position::default() };
                said.push(ControlInput { position, record: Arc::new(record) });
                offset += 1;
            }
        } else if let Some(at) = block.head.strip_prefix("advance ") {
            let at = at.parse().unwrap_or_else(|_| panic!("{}: not a time", block.head));
            ticks.push(Tick {
                at,
                inputs: std::mem::take(&mut waiting),
                control: std::mem::take(&mut said),
                ..Tick::default()
            });
        }
    }
    ticks
}

/// The net changes of a view in the frames of `(lower, upper]`, as lines.
fn changes(frames: &[Released], name: &str, lower: u64, upper: u64) -> Vec<String> {
    let schema = view(name).unwrap_or_else(|| {
        panic!("{name}: no such view; there are {:?}", VIEWS.iter().map(|view| view.name).collect::<Vec<_>>())
    });
    let index = view_index(name).expect("it is a view");
    let within = frames.iter().filter(|released| released.frame.upper > lower && released.frame.upper <= upper);
    let mut net: Vec<(String, i64, Cause)> = Vec::new();
    for update in within.flat_map(|released| &released.frame.views[index].updates) {
        let line = json(&update.row, schema);
        match net.iter_mut().find(|(known, ..)| *known == line) {
            Some((_, diff, cause)) => (*diff, *cause) = (*diff + update.diff, update.cause),
            None => net.push((line, update.diff, update.cause)),
        }
    }
    net.retain(|(_, diff, _)| *diff != 0);
    net.sort_by(|(a, x, _), (b, y, _)| a.cmp(b).then(x.cmp(y)));
    let text = |(line, diff, cause): (String, i64, Cause)| match (diff, cause) {
        (1, _) => format!("+ {line}"),
        (-1, Cause::Changed) => format!("- {line}"),
        (-1, Cause::Withdrawn) => format!("- withdrawn {line}"),
        (-1, Cause::Evicted) => format!("- evicted {line}"),
        _ => panic!("{name}: {diff} of {line}"),
    };
    net.into_iter().map(text).collect()
}

/// The file with what came in the place of what was expected.
fn rewritten(blocks: &[Block<'_>], frames: &[Released]) -> String {
    let (mut out, mut lower, mut upper) = (String::new(), 0, 0);
    for block in blocks {
        let _infallible = writeln!(out, "{}", block.head);
        if let Some(at) = block.head.strip_prefix("advance ") {
            (lower, upper) = (upper, at.parse().expect("checked before"));
        }
        let lines: Vec<String> = match block.head.strip_prefix("expect ") {
            Some(name) => changes(frames, name, lower, upper),
            None => block.body.iter().map(|line| (*line).to_owned()).collect(),
        };
        lines.iter().for_each(|line| {
            let _infallible = writeln!(out, "{line}");
        });
    }
    out
}

#[test]
fn every_view_has_its_file_and_shows_what_it_says() {
    let files = std::fs::read_dir(FOLDER).expect("the folder").map(|entry| entry.expect("a file").file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().expect("text")).collect();
    files.sort();
    for view in VIEWS {
        assert!(files.contains(&format!("{}.td", view.name)), "{} has no file", view.name);
    }
    for name in files.iter().filter(|name| name.ends_with(".td")) {
        let path = format!("{FOLDER}/{name}");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let blocks = blocks(&text);
        let frames = run(&config(&blocks), &ticks(&blocks), Feeding { workers: 2, ..Feeding::SIMPLE });
        let found = rewritten(&blocks, &frames);
        if std::env::var_os("WEIR_REWRITE").is_some() {
            std::fs::write(&path, &found).expect("writes the file");
            continue;
        }
        assert_eq!(text, found, "{path}: WEIR_REWRITE=1 writes what came");
    }
}
