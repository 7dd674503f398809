//! A real Kafka broker of a test's own: one node, its data in a temporary folder, ended with its owner.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Runs it to its end.
fn done(command: &mut Command) {
    let ended = command.output().expect("runs");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Makes the keys of a broker with TLS; gives the properties that name them and the users.
fn keys(folder: &Path) -> String {
    let store = folder.join("broker.p12");
    let keytool = |arguments: &[&str]| {
        let mut command = Command::new("keytool");
        command.args(arguments).args(["-alias", "broker", "-storepass", STORE, "-keystore"]).arg(&store);
        done(command.stdin(Stdio::null()));
    };
    let names = ["-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1,dns:localhost"];
    keytool(&[&["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-validity", "2"], &names[..]].concat());
    let certificate = folder.join("ca.pem");
    keytool(&["-exportcert", "-rfc", "-file", certificate.to_str().expect("is text")]);
    let (listener, modules) = ("listener.name.sasl_ssl", "org.apache.kafka.common.security");
    format!(
        "ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password={STORE}\n\
         {listener}.sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN\n\
         {listener}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
         {listener}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{}=\"{}\";\n",
        store.display(),
        USER.0,
        USER.1
    )
}

/// A broker, up or killed.
pub(crate) struct Broker {
    folder: TempDir,
    address: String,
    /// Where passwords are asked for, if it is so.
    secured: Option<String>,
    child: Option<Child>,
}

/// The user of a broker that asks for passwords.
pub(crate) const USER: (&str, &str) = ("weir", "a secret of tests");
/// The password of its keys.
const STORE: &str = "changeit";

impl Broker {
    /// Starts one with an empty folder.
    pub(crate) fn start() -> Broker {
        Broker::made(false)
    }

    /// One that besides has a listener with TLS and passwords, by SCRAM and plain.
    pub(crate) fn secured() -> Broker {
        Broker::made(true)
    }

    fn made(secured: bool) -> Broker {
        let folder = tempfile::tempdir().expect("a folder");
        let local = || format!("127.0.0.1:{}", port());
        let (address, controller, secured) = (local(), local(), secured.then(local));
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nauto.create.topics.enable=false\nmessage.max.bytes=17825792\n\
             listeners=PLAINTEXT://{address},CONTROLLER://{controller}",
            folder.path().join("data").display()
        );
        if let Some(secured) = &secured {
            properties += &format!(",SASL_SSL://{secured}\n{}", keys(folder.path()));
        }
        fs::write(folder.path().join("server.properties"), properties).expect("written");
        let mut format = java("kafka.tools.StorageTool");
        format.args(["format", "-t", "WeirKafkaClusterIdA001", "-c"]).arg(folder.path().join("server.properties"));
        if secured.is_some() {
            format.args(["--add-scram", &format!("SCRAM-SHA-256=[name={},password={}]", USER.0, USER.1)]);
        }
        done(&mut format);
        let mut broker = Broker { folder, address, secured, child: None };
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

    /// `host:port` where passwords are asked for, and the certificate that it shows.
    pub(crate) fn secured_address(&self) -> (&str, PathBuf) {
        (self.secured.as_deref().expect("it is secured"), self.folder.path().join("ca.pem"))
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
        self.client().create().expect("a client")
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::from_iter(self.properties())
    }

    /// Makes a topic.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = wait(self.admin().create_topics(&[topic], &AdminOptions::new()));
        made.expect("answered").remove(0).expect("made");
    }

    /// Gives a topic more partitions.
    pub(crate) fn grow(&self, name: &str, partitions: usize) {
        let grown = wait(self.admin().create_partitions(&[NewPartitions::new(name, partitions)], &AdminOptions::new()));
        grown.expect("answered").remove(0).expect("grown");
    }

    /// Produces messages to a partition, in their order, and waits until they are acknowledged. Waits for a topic that was made
    /// or grown just now.
    pub(crate) fn produce<'m>(
        &self,
        topic: &str,
        partition: i32,
        properties: &[(&str, &str)],
        messages: impl IntoIterator<Item = Message<'m>>,
    ) {
        let mut config = self.client();
        config.set("linger.ms", "5").set("message.max.bytes", "17000000").set("enable.idempotence", "true");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let producer: BaseProducer = config.create().expect("a producer");
        for message in messages {
            let Message { payload, key, headers } = message;
            let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(partition).headers(headers);
            (record.payload, record.key) = (payload.as_deref(), key);
            producer.send(record).map_err(|(error, _)| error).expect("is taken");
        }
        producer.flush(PATIENCE).expect("is acknowledged");
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// A transaction of one record.
    pub(crate) fn transaction(&self, topic: &str, partition: i32, payload: &[u8], commits: bool) {
        let producer: BaseProducer = self.client().set("transactional.id", "a reporter").create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("ready");
        producer.begin_transaction().expect("begun");
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(partition).payload(payload);
        producer.send(record).map_err(|(error, _)| error).expect("is taken");
        if commits {
            producer.commit_transaction(PATIENCE).expect("committed");
        } else {
            producer.flush(PATIENCE).expect("sent");
            producer.abort_transaction(PATIENCE).expect("aborted");
        }
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

/// A message of a producer.
pub(crate) struct Message<'m> {
    payload: Option<Vec<u8>>,
    key: Option<&'m str>,
    headers: OwnedHeaders,
}

impl<'m> Message<'m> {
    pub(crate) fn of(payload: &[u8]) -> Message<'m> {
        Message { payload: Some(payload.to_vec()), key: None, headers: OwnedHeaders::new() }
    }

    /// One without a value.
    pub(crate) fn tombstone() -> Message<'m> {
        Message { payload: None, key: None, headers: OwnedHeaders::new() }
    }

    pub(crate) fn key(self, key: &'m str) -> Message<'m> {
        Message { key: Some(key), ..self }
    }

    pub(crate) fn header(self, key: &str, value: &str) -> Message<'m> {
        let headers = self.headers.insert(Header { key, value: Some(value) });
        Message { headers, ..self }
    }
}

/// Waits for an answer.
fn wait<F: Future>(answer: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(answer)
}
