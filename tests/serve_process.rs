//! The real `weir serve`: what keeps it from starting is one line with its remedy and exit code; it ends in order.

#[path = "common/process.rs"]
mod process;

use process::{Running, serve, weir};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Runs to its end: exit code, and what it printed as its last word.
fn fails(mut command: Command) -> (i32, String) {
    let output = command.output().expect("runs");
    let errors = String::from_utf8(output.stderr).expect("is text");
    let said: Vec<&str> = errors.lines().filter(|line| line.starts_with("weir: ")).collect();
    assert_eq!(said.len(), 1, "one line: {errors}");
    (output.status.code().expect("ended by itself"), said[0].to_owned())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_broken_configuration_lists_every_problem() {
    let folder = folder();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "[server]\nlistn = 1\n[engine]\nworkers = 0\n").expect("writes");
    let path = file.to_str().expect("is text");
    for arguments in [vec!["check-config", path], vec!["serve", "--config", path]] {
        let output = weir().args(arguments).output().expect("runs");
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8(output.stderr).expect("is text");
        assert!(errors.contains("line 2: server.listn: unknown key, did you mean `listen`?"), "{errors}");
        assert!(errors.contains("line 4: engine.workers: 0 is out of range"), "{errors}");
    }
    let mut missing = weir();
    missing.args(["serve", "--config", "no/such/weir.toml"]);
    let (code, said) = fails(missing);
    assert!(code == 2 && said.contains("no/such/weir.toml"), "{code}: {said}");
}

#[test]
fn a_sound_configuration_is_said_to_be_sound() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/weir.toml");
    let output = weir().arg("check-config").arg(&example).output().expect("runs");
    assert_eq!(output.status.code(), Some(0));
    let printed = weir().args(["check-config", "--print"]).arg(&example).output().expect("runs");
    let text = String::from_utf8(printed.stdout).expect("is text");
    let loaded = weir::config::Config::parse(&text, std::iter::empty()).expect("can be read again");
    assert_eq!(loaded.config, weir::config::Config::default());
}

#[test]
fn variables_that_are_no_text_are_others_business_unless_they_are_ours() {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let folder = folder();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "[engine]\nworkers = 0\n").expect("writes");
    let path = file.to_str().expect("is text");
    for arguments in [vec!["check-config", path], vec!["serve", "--config", path]] {
        let mut others = weir();
        others.args(&arguments).env("SOMEBODYS", bytes).env(bytes, "x");
        let (code, said) = fails(others);
        assert!(code == 2 && said.contains(path), "{said}");
        let mut ours = weir();
        ours.args(&arguments).env("WEIR_DATA_FOLDER", bytes);
        let (code, said) = fails(ours);
        assert!(code == 2 && said.contains("WEIR_DATA_FOLDER is not UTF-8"), "{said}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("is bound").to_string();
    let (place, mut command) = (folder(), weir());
    command.args(["serve", "--listen", &address, "--data"]).arg(place.path());
    let (code, said) = fails(command);
    assert_eq!(code, 3);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn an_address_open_to_others_needs_tokens() {
    let place = folder();
    let mut command = weir();
    command.args(["serve", "--listen", "0.0.0.0:0", "--data"]).arg(place.path());
    let (code, said) = fails(command);
    assert!(code == 2 && said.contains("tokens_file"), "{code}: {said}");
}

#[test]
fn an_unusable_folder_is_named() {
    let place = folder();
    let file = place.path().join("file");
    std::fs::write(&file, "no folder").expect("writes");
    let (code, said) = fails(serve(&file.join("data")));
    assert!(code == 3 && said.contains("file/data") && said.contains("--data"), "{code}: {said}");
    // Where even the superuser may not write.
    let (code, said) = fails(serve(Path::new("/proc/weir-data")));
    assert!(code == 3 && said.contains("/proc/weir-data") && said.contains("--data"), "{code}: {said}");
}

#[test]
fn a_second_instance_is_turned_away_and_the_first_ends_in_order() {
    let place = folder();
    let (mut first, _) = Running::start(serve(place.path()));
    let (code, said) = fails(serve(place.path()));
    assert_eq!(code, 3);
    assert!(said.contains("in use") && said.contains(&first.child.id().to_string()), "{said}");
    assert!(said.contains("--data"), "{said}");
    first.signal("-TERM");
    let (code, rest) = first.end();
    assert_eq!(code, Some(0), "{rest}");
    let (mut again, _) = Running::start(serve(place.path()));
    again.signal("-INT");
    assert_eq!(again.end().0, Some(0));
}

#[test]
fn json_logs_are_one_object_a_line() {
    let place = folder();
    let mut command = serve(place.path());
    command.args(["--log-format", "json", "--log-level", "debug"]);
    let (mut running, address) = Running::start(command);
    assert!(address.ip().is_loopback(), "{address}");
    running.signal("-TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0));
    assert!(!rest.is_empty());
    for line in rest.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn damage_and_a_newer_format_need_a_person() {
    let place = folder();
    let (mut running, _) = Running::start(serve(place.path()));
    running.signal("-TERM");
    assert_eq!(running.end().0, Some(0));
    let topic = place.path().join("events").join("topic.json");
    let sound = std::fs::read_to_string(&topic).expect("is readable");
    let format = sound.find("\"format\"").expect("has a format");
    let number = format + sound[format..].find(char::is_numeric).expect("has a number");
    let mut newer = sound.clone();
    newer.replace_range(number..=number, "9");
    let damaged = sound.replacen("weir.events", "weir.elents", 1);
    for (text, part) in [(newer, "format version 9"), (damaged, "damaged")] {
        std::fs::write(&topic, text).expect("writes");
        let (code, said) = fails(serve(place.path()));
        assert!(code == 4 && said.contains(part) && said.contains("topic.json"), "{code}: {said}");
        assert!(said.contains("--data") || said.contains("backup"), "a remedy: {said}");
    }
    std::fs::write(&topic, sound).expect("writes");
    let (mut running, _) = Running::start(serve(place.path()));
    running.signal("-TERM");
    assert_eq!(running.end().0, Some(0), "nothing was changed meanwhile");
}

#[test]
fn help_documents_commands_and_exit_codes() {
    let output = weir().arg("--help").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("is text");
    for part in ["serve", "check-config", "--log-level", "Exit codes:", "\n  0 ", "\n  4 ", "\n  101 "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let version = weir().arg("--version").output().expect("runs");
    assert_eq!(String::from_utf8(version.stdout).expect("is text"), format!("weir {}\n", env!("CARGO_PKG_VERSION")));
    let unknown = weir().arg("swerve").output().expect("runs");
    assert_eq!(unknown.status.code(), Some(2));
}
