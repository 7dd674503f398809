//! The configuration file: `deploy/weir.toml` is the truth about keys and defaults, and every problem is named.

use std::path::Path;
use weir::config::{Config, ConfigError, Problem};

fn none() -> std::iter::Empty<(String, String)> {
    std::iter::empty()
}

fn problems(text: &str) -> Vec<Problem> {
    Config::parse(text, none()).expect_err("has problems")
}

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/weir.toml")).expect("is readable")
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let text = example();
    assert_eq!(Config::parse(&text, none()).expect("is sound").config, Config::default());
    let written: toml::Table = text.parse().expect("is TOML");
    let defaults = toml::Table::try_from(Config::default()).expect("can be written");
    assert_eq!(written, defaults, "every key stands in deploy/weir.toml with its default");
}

#[test]
fn every_key_of_the_example_is_explained() {
    let text = example();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // Keys of one explanation stand together under it.
        let block_opens = line.contains(" = ") && !line.starts_with('#');
        if block_opens {
            let above = lines[..index].iter().rev().find(|line| !line.contains(" = ") || line.starts_with('#'));
            assert!(above.is_some_and(|above| above.starts_with('#')), "line {}: {line}", index + 1);
        }
    }
}

#[test]
fn all_problems_are_reported_at_once_with_key_and_line() {
    let text = "[server]\nlisten = \"0.0.0.0:80\"\nlistn = 3\n\n[engine]\nworkers = \"two\"\ntick_min = \"25ms\"\n\
                tick_max = 100\n\n[log]\nretention_age = \"20d\"\nsegment_size = \"64\"\n\n[hubb]\nring_age = \"1m\"\n";
    let found: Vec<(Option<usize>, String)> =
        problems(text).into_iter().map(|problem| (problem.line, problem.key)).collect();
    let expected = [
        (2, "server.listen"),
        (3, "server.listn"),
        (6, "engine.workers"),
        (7, "engine.tick_min"),
        (8, "engine.tick_max"),
        // It must exceed four memories.
        (11, "log.retention_age"),
        (11, "log.retention_age"),
        (11, "log.retention_age"),
        (11, "log.retention_age"),
        (12, "log.segment_size"),
        (14, "hubb"),
    ];
    assert_eq!(found, expected.map(|(line, key)| (Some(line), key.to_owned())));
}

#[test]
fn messages_say_what_would_be_right() {
    for (text, part) in [
        ("[server]\nlistn = 3", "did you mean `listen`?"),
        ("[hubb]\n", "did you mean `hub`?"),
        ("[log]\nretention_age = \"20d\"", "must exceed engine.late_memory (30d)"),
        ("[log]\nsegment_size = 64", "such as \"16MiB\""),
        ("[engine]\ntick_max = \"100\"", "such as \"30s\""),
        ("[server]\nlisten = \"[::]:8080\"", "auth.tokens_file"),
        ("[server]\npublic_url = \"weir.example\"", "https://weir.example"),
        ("[telemetry]\nformat = \"xml\"", "`text` or `json`"),
        ("[telemetry]\nlevel = \"loud\"", "loud"),
        ("[server\n", "not TOML"),
        ("server = 3", "section"),
    ] {
        let shown: Vec<String> = problems(text).iter().map(ToString::to_string).collect();
        assert!(shown.iter().any(|line| line.contains(part)), "{text}: {shown:?}");
        assert!(shown.iter().all(|line| !line.contains('\n')), "{text}: one line each: {shown:?}");
    }
}

#[test]
fn the_environment_overrides_any_key_by_its_type() {
    let environment = [
        ("WEIR_SERVER_LISTEN", "127.0.0.1:9"),
        ("WEIR_SERVER_ALLOWED_HOSTS", "a.example, b.example"),
        ("WEIR_ENGINE_WORKERS", "7"),
        ("WEIR_ENGINE_TICK_MIN", "10ms"),
        ("WEIR_AUTH_TOKENS_FILE", "/run/tokens"),
        ("WEIR_HUB_PORT", "tcp://10.0.0.1:80"),
        ("WEIR_URL", "http://elsewhere"),
        ("PATH", "/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loaded = Config::parse("[engine]\nworkers = 3\nmax_behind = 9\n", environment).expect("is sound");
    let config = loaded.config;
    assert_eq!(config.server.listen.port(), 9);
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!((config.engine.workers, config.engine.max_behind), (7, 9));
    assert_eq!(config.engine.tick_min.ms(), 10);
    assert_eq!(config.auth.tokens_file.as_deref(), Some(Path::new("/run/tokens")));
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    assert!(loaded.notices[0].contains("WEIR_HUB_PORT"));

    let properties = "security.protocol=SASL_SSL, sasl.username = weir,";
    let loaded = Config::parse("", [("WEIR_KAFKA_PROPERTIES".to_owned(), properties.to_owned())]).expect("is sound");
    let found: Vec<_> = loaded.config.kafka.properties.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(found, [("sasl.username", "weir"), ("security.protocol", "SASL_SSL")]);

    let broken = [("WEIR_ENGINE_WORKERS".to_owned(), "many".to_owned())];
    let problems = Config::parse("", broken).expect_err("is no number");
    assert_eq!(problems[0].key, "WEIR_ENGINE_WORKERS");
}

#[test]
fn what_kafka_may_not_be_told_is_named() {
    let text = "[kafka]\nbrokers = [\"a\", \"b:9092\"]\nevents = [\"e\", \"e\"]\ncontrol = \"what for\"\n\
                properties = { acks = \"1\", \"sasl.password\" = \"x\", \"fetch.min.bytes\" = \"1\" }\n";
    let found: Vec<String> = problems(text).iter().map(ToString::to_string).collect();
    let expected = [
        "line 2: kafka.brokers: `a` is not host:port",
        "line 3: kafka.events: `e` is named twice",
        "line 4: kafka.control: `what for` is not a topic's name",
        "line 5: kafka.properties: the Kafka property acks = \"1\" cannot be set: a record counts when",
        "line 5: kafka.properties: sasl.password is a secret: write it into the file",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn every_key_can_come_from_the_environment() {
    let defaults = toml::Table::try_from(Config::default()).expect("can be written");
    for (section, keys) in &defaults {
        for (key, value) in keys.as_table().expect("is a section") {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Array(list) => list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(", "),
                toml::Value::Table(pairs) => {
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            let name = format!("WEIR_{section}_{key}").to_uppercase();
            let loaded = Config::parse("", [(name.clone(), text)]).expect("the default is sound");
            assert_eq!((loaded.config, loaded.notices.len()), (Config::default(), 0), "{name}");
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_dataflow_and_the_log_outlives_its_memory() {
    let config = Config::default();
    let dataflow = config.dataflow(&["weir.events", "weir.control"]);
    assert_eq!(dataflow, weir_dataflows::Config::default());
    assert!(config.log.retention_age.ms() > dataflow.memory_ms());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("no/such/weir.toml")), none()).expect_err("is not there");
    assert!(matches!(error, ConfigError::Unreadable { .. }) && error.to_string().contains("no/such/weir.toml"));
}
