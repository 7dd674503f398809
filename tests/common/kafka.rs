//! A real Kafka broker of a test's own: one node, its data in a temporary folder, ended with its owner.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

/// The folder of Kafka's jars, fetched once.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/kafka/fetch.sh");
        let fetched = Command::new(script).stderr(Stdio::inherit()).output().expect("the script runs");
        assert!(fetched.status.success(), "Kafka cannot be fetched");
        PathBuf::from(String::from_utf8(fetched.stdout).expect("a path").trim())
    })
}

/// A port of this process's own. Kafka has to be told its port, and keeps it over a restart: so none that the system gives to
/// connections (from 32,768 on), and none that was given before.
fn port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(u16::try_from(std::process::id() % 10_000).expect("small")));
    loop {
        let port = 20_000 + next.fetch_add(1, Ordering::Relaxed) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(jars().join("*")).arg(class).stdin(Stdio::null());
    command
}

/// A broker, up or killed.
pub(crate) struct Broker {
    folder: TempDir,
    address: String,
    child: Option<Child>,
}

impl Broker {
    /// Starts one with an empty folder.
    pub(crate) fn start() -> Broker {
        let folder = tempfile::tempdir().expect("a folder");
        let (address, controller) = (format!("127.0.0.1:{}", port()), format!("127.0.0.1:{}", port()));
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://{controller}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nauto.create.topics.enable=false\nmessage.max.bytes=17825792\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("server.properties"), properties).expect("written");
        let formatted = java("kafka.tools.StorageTool")
            .args(["format", "-t", "WeirKafkaClusterIdA001", "-c"])
            .arg(folder.path().join("server.properties"))
            .output()
            .expect("java runs");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let mut broker = Broker { folder, address, child: None };
        broker.restart();
        broker
    }

    /// Starts it again on what it had; returns when it serves.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut child = java("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("java runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let up = lines.by_ref().map_while(Result::ok).any(|line| {
            said.push_str(&line);
            said.push('\n');
            line.contains("Kafka Server started")
        });
        assert!(up, "the broker did not start:\n{said}");
        self.child = Some(child);
        // Whatever else it says is read, so that it never waits for us.
        let drain = std::thread::Builder::new().name("broker".to_owned()).spawn(move || lines.for_each(drop));
        drop(drain.expect("a thread"));
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The properties of a client of it.
    pub(crate) fn properties(&self) -> BTreeMap<String, String> {
        properties(&self.address)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().expect("a client")
    }

    /// Makes a topic.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = wait(self.admin().create_topics(&[topic], &AdminOptions::new()));
        made.expect("answered").remove(0).expect("made");
    }

    /// Removes a topic.
    pub(crate) fn delete_topic(&self, name: &str) {
        let gone = wait(self.admin().delete_topics(&[name], &AdminOptions::new()));
        gone.expect("answered").remove(0).expect("removed");
    }

    /// Removes a partition's records before an offset, as retention does.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let gone = wait(self.admin().delete_records(&offsets, &AdminOptions::new())).expect("answered");
        assert_eq!(gone.elements()[0].error(), Ok(()));
    }
}

/// The properties of a client of the broker there.
pub(crate) fn properties(address: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("bootstrap.servers".to_owned(), address.to_owned())])
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Waits for an answer.
fn wait<F: Future>(answer: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(answer)
}
