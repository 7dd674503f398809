//! `weir topics create` and a server on a real broker that asks for passwords over TLS, as somebody who sets it up meets them.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/process.rs"]
mod process;

use kafka::{Broker, USER};
use process::{Running, weir};
use std::fs;
use std::path::{Path, PathBuf};

/// What a command said, and its exit code.
fn topics(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = weir();
    command.args(["topics", "create", "--config"]).arg(config).args(arguments);
    let ended = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn topics_are_made_as_weir_needs_them_and_what_is_wrong_with_others_is_said() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let config = format!("[kafka]\nbrokers = [\"{}\"]\nevents = [\"weir.events\", \"of.others\"]\n", broker.address());
    let config = written(folder.path(), "weir.toml", &config);
    broker.create_topic("of.others", 2);
    let (code, said, _) = topics(&config, &["--check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("weir.events: missing; make it with `weir topics create`"), "{said}");
    let (code, said, errors) = topics(&config, &["--partitions", "6"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    let expected = [
        "weir.events: made with 6 partitions and 1 replicas",
        "of.others: there with 2 partitions and 1 replicas",
        "  warning: retention.ms=604800000 is less than 31d: a restart would rebuild a shorter past, in a new epoch; set \
         retention.ms=2678400000",
        "  warning: one replica: what a broker's disk loses is lost; use 3",
        "  warning: 2 partitions are few: no more processes can read it, and adding some later moves streams; use 4 or more",
        "weir.control: made with 1 partitions and 1 replicas",
        "weir.bindings: made with 1 partitions and 1 replicas",
        "weir.events.rejected: made with 1 partitions and 1 replicas",
        "of.others.rejected: made with 1 partitions and 1 replicas",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, expected);
    // What it made is as it wants it, but for the one broker.
    let (code, said, _) = topics(&config, &["--check"]);
    assert_eq!((code, said.matches("warning").count(), said.matches("one replica").count()), (Some(0), 8, 6), "{said}");
    broker.grow("weir.control", 2);
    let (code, said, errors) = topics(&config, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("  cannot be used: it has 2 partitions and must have one"), "{said}");
    assert_eq!(errors, "weir: 1 of the topics cannot be used as they are\n");
}

#[test]
fn a_server_speaks_to_brokers_that_ask_for_passwords_over_tls() {
    let (broker, folder) = (Broker::secured(), tempfile::tempdir().unwrap());
    let (address, certificate) = broker.secured_address();
    let secrets = |password: &str| written(folder.path(), "secrets", &format!("sasl.password={password}\n"));
    let config = |mechanism: &str| {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[kafka]\nbrokers = [\"{address}\"]\nproperties_file = \"{}\"\n\
             [kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"{mechanism}\"\n\
             \"sasl.username\" = \"{}\"\n\"ssl.ca.location\" = \"{}\"\n",
            secrets(USER.1).display(),
            USER.0,
            certificate.display()
        );
        written(folder.path(), "weir.toml", &text)
    };
    for (mechanism, becomes) in [("SCRAM-SHA-256", "made"), ("PLAIN", "there")] {
        let config = config(mechanism);
        let (code, said, errors) = topics(&config, &[]);
        assert_eq!(code, Some(0), "{said}{errors}");
        assert!(said.contains(&format!("weir.events: {becomes} with 12 partitions")), "{said}");
        let mut serve = weir();
        serve.args(["serve", "--config"]).arg(&config);
        let (mut server, _) = Running::start(serve);
        server.signal("-TERM");
        let (code, said) = server.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains(USER.1), "{said}");
    }
    let config = config("PLAIN");
    secrets("not the secret");
    let mut serve = weir();
    serve.args(["serve", "--config"]).arg(&config);
    let (code, said) = Running::spawn(serve).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("Authentication failed") && !said.contains("not the secret"), "{said}");
}
