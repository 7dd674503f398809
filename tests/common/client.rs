//! A WebSocket client that keeps its subscriptions' rows as the protocol says, over any number of connections.

#[path = "rows.rs"]
pub(crate) mod rows;

use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use weir_schemas::protocol::{Batch, ClientMessage, Entry, Hello, InitialData, Mode, ServerMessage, Since, Subscribe};
use weir_schemas::update::Digest;
use weir_schemas::view::view;

/// Rows by the JSON of their key.
pub(crate) type Rows = BTreeMap<String, Vec<Value>>;

/// One subscription and its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) channel: String,
    pub(crate) filters: Map<String, Value>,
    pub(crate) name: String,
    /// Key columns by view.
    keys: BTreeMap<String, usize>,
    /// Rows by view.
    pub(crate) views: BTreeMap<String, Rows>,
    /// The digest of each view's rows, kept up with them.
    pub(crate) digests: BTreeMap<String, Digest>,
    staged: Vec<InitialData>,
    /// Of when its rows are, until a batch names that time and moves it from then on.
    awaited: Option<u64>,
    /// Whether batches move it.
    pub(crate) moving: bool,
    pub(crate) snapshots: u32,
    pub(crate) resumes: u32,
    /// Positions that it wanted to go on from, and got a snapshot instead.
    pub(crate) lost: u32,
    pub(crate) excluded: Vec<String>,
}

/// All subscriptions of one client, whatever it is connected to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    pub(crate) epoch: String,
    pub(crate) time: u64,
    pub(crate) kept: BTreeMap<String, Kept>,
    sequence: u64,
    parts: Vec<Entry>,
}

impl Fold {
    pub(crate) fn add(&mut self, id: &str, channel: &str, filters: Value) {
        let Value::Object(filters) = filters else { panic!("filters are an object") };
        let kept = Kept { channel: channel.to_owned(), filters, ..Kept::default() };
        self.kept.insert(id.to_owned(), kept);
    }

    /// What to subscribe to on a new connection, from where it is.
    pub(crate) fn resume(&mut self) -> Vec<Subscribe> {
        self.sequence = 0;
        self.parts.clear();
        let since = (!self.epoch.is_empty()).then(|| Since { epoch: self.epoch.clone(), time: self.time });
        let mut all = Vec::new();
        for (id, kept) in &mut self.kept {
            // Rows that no batch has moved yet are of another time than the others': they are asked for anew.
            let since = since.clone().filter(|_| kept.moving);
            kept.moving = false;
            kept.awaited = None;
            kept.staged.clear();
            all.push(Subscribe {
                subscription_id: id.clone(),
                channel: kept.channel.clone(),
                filters: kept.filters.clone(),
                options: Map::new(),
                since,
            });
        }
        all
    }

    /// Connects, goes on from where it is, and reads so many messages, or until `cut`, called whenever every moving
    /// subscription is exactly its views at `self.time`, says that it is enough. An error when the connection ends before.
    pub(crate) async fn visit(
        &mut self,
        address: SocketAddr,
        messages: usize,
        mut cut: impl FnMut(&Fold) -> bool,
    ) -> Result<(), Ended> {
        let mut client = Client::reach(address).await?;
        let resume = self.resume();
        let goes_on = resume.iter().filter(|subscribe| subscribe.since.is_some());
        let goes_on: BTreeSet<String> = goes_on.map(|subscribe| subscribe.subscription_id.clone()).collect();
        client.tell(&ClientMessage::Hello(Hello { v: 1, resume, ..Hello::default() })).await?;
        for _ in 0..messages {
            let message = client.next().await?;
            if let ServerMessage::SubscriptionConfirmed(confirmed) = &message {
                let id = &confirmed.subscription_id;
                if confirmed.mode == Mode::Snapshot && goes_on.contains(id) {
                    self.kept.get_mut(id).expect("was asked for").lost += 1;
                }
            }
            if self.apply(&message) && cut(self) {
                break;
            }
        }
        Ok(())
    }

    /// Whether every subscription moves: all are of `self.time`.
    pub(crate) fn whole(&self) -> bool {
        self.kept.values().all(|kept| kept.moving)
    }

    /// Applies a message; true when every moving subscription is now exactly its views at `self.time`.
    pub(crate) fn apply(&mut self, message: &ServerMessage) -> bool {
        match message {
            ServerMessage::SubscriptionConfirmed(confirmed) => {
                let kept = self.kept.get_mut(&confirmed.subscription_id).expect("was asked for");
                kept.name.clone_from(&confirmed.subscription);
                kept.excluded.clone_from(&confirmed.excluded_views);
                kept.keys = confirmed.schemas.iter().map(|schema| (schema.view.clone(), schema.key.len())).collect();
                assert!(!kept.moving, "confirmed twice");
                if confirmed.mode == Mode::Resumed {
                    kept.resumes += 1;
                    kept.awaited = Some(confirmed.time);
                }
                false
            }
            ServerMessage::InitialData(part) => self.stage(part),
            ServerMessage::Batch(batch) => self.batch(batch),
            ServerMessage::Progress(progress) => {
                let moving = self.kept.values().any(|kept| kept.moving);
                if moving {
                    assert!(progress.time >= self.time, "time never goes back");
                    assert!(self.parts.is_empty(), "no progress amid a batch");
                    self.time = progress.time;
                    self.epoch.clone_from(&progress.epoch);
                }
                moving
            }
            _ => false,
        }
    }

    fn stage(&mut self, part: &InitialData) -> bool {
        let kept = self.kept.get_mut(&part.subscription_id).expect("was asked for");
        assert_eq!(kept.name, part.subscription, "confirmed before its data");
        if part.part == 0 {
            kept.staged.clear();
            kept.awaited = None;
            kept.moving = false;
        }
        assert_eq!(part.part as usize, kept.staged.len(), "parts come in order");
        kept.staged.push(part.clone());
        if part.last {
            kept.snapshots += 1;
            kept.awaited = Some(part.time);
            kept.views = kept.keys.keys().map(|view| (view.clone(), Rows::new())).collect();
            kept.digests = kept.keys.keys().map(|view| (view.clone(), Digest::default())).collect();
            for part in std::mem::take(&mut kept.staged) {
                assert!(kept.views.contains_key(&part.view), "{} is of its schemas", part.view);
                for row in part.rows {
                    assert!(kept.put(&part.view, row), "a row stands twice");
                }
            }
        }
        false
    }

    fn batch(&mut self, batch: &Batch) -> bool {
        self.sequence += 1;
        assert_eq!(batch.sequence, self.sequence, "sequence rises by one");
        if self.kept.values().any(|kept| kept.moving) && self.parts.is_empty() {
            assert_eq!((&batch.epoch, batch.from), (&self.epoch, self.time), "no gap between batches");
        }
        self.parts.extend(batch.messages.iter().cloned());
        if batch.last == Some(false) {
            return false;
        }
        for entry in std::mem::take(&mut self.parts) {
            for kept in self.kept.values_mut().filter(|kept| kept.name == entry.subscription) {
                if entry.from.is_some() && entry.from == kept.awaited.take_if(|awaited| Some(*awaited) == entry.from) {
                    kept.moving = true;
                }
                if kept.moving {
                    kept.take(&entry);
                }
            }
        }
        self.epoch.clone_from(&batch.epoch);
        self.time = batch.time;
        true
    }
}

impl Kept {
    fn take(&mut self, entry: &Entry) {
        let key = self.keys[&entry.view];
        for row in &entry.up {
            self.put(&entry.view, row.clone());
        }
        for gone in &entry.del {
            assert_eq!(gone.len(), key, "a key");
            let before = self.views.entry(entry.view.clone()).or_default().remove(&key_of(gone, key));
            self.count(&entry.view, before.as_deref(), -1);
        }
        let ups: Vec<String> = entry.up.iter().map(|row| key_of(row, key)).collect();
        assert!(!entry.del.iter().any(|gone| ups.contains(&key_of(gone, key))), "up and del are disjoint");
    }

    /// Puts a row in the place of its key; whether there was none.
    fn put(&mut self, view: &str, row: Vec<Value>) -> bool {
        self.count(view, Some(&row), 1);
        let key = key_of(&row, self.keys[view]);
        let before = self.views.entry(view.to_owned()).or_default().insert(key, row);
        self.count(view, before.as_deref(), -1);
        before.is_none()
    }

    fn count(&mut self, name: &str, row: Option<&[Value]>, diff: i64) {
        if let Some(row) = row {
            let row = rows::row_of(view(name).expect("a view"), row);
            self.digests.entry(name.to_owned()).or_default().apply(&row, diff);
        }
    }
}

pub(crate) fn key_of(row: &[Value], key: usize) -> String {
    serde_json::to_string(&row[..key]).expect("JSON")
}

/// How many messages a client reads before it drops its connection: few, but more each time until all its rows moved.
#[derive(Debug)]
pub(crate) struct Whim {
    most: usize,
}

impl Default for Whim {
    fn default() -> Whim {
        Whim { most: 60 }
    }
}

impl Whim {
    pub(crate) fn messages(&self, rng: &mut StdRng) -> usize {
        rng.random_range(1..self.most)
    }

    pub(crate) fn after(&mut self, fold: &Fold) {
        self.most = if fold.whole() { Whim::default().most } else { self.most * 2 };
    }
}

/// A connection.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// How a connection ended: the close code, if it was closed properly.
pub(crate) type Ended = Option<u16>;

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        Client::reach(address).await.expect("connects")
    }

    /// The same, where the server may be gone.
    pub(crate) async fn reach(address: SocketAddr) -> Result<Client, Ended> {
        let request = format!("ws://{address}/v1/stream").into_client_request().expect("a request");
        let (socket, _) = tokio_tungstenite::connect_async(request).await.map_err(|_gone| None)?;
        Ok(Client { socket })
    }

    /// A connection that holds little on its way.
    pub(crate) async fn narrow(address: SocketAddr) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8_192).expect("a small buffer");
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("connects"));
        let request = format!("ws://{address}/v1/stream");
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("shakes hands");
        Client { socket }
    }

    pub(crate) fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Client {
        Client { socket }
    }

    pub(crate) async fn say(&mut self, message: &ClientMessage) {
        self.tell(message).await.expect("is connected");
    }

    /// The same, where the server may be gone.
    async fn tell(&mut self, message: &ClientMessage) -> Result<(), Ended> {
        let text = serde_json::to_string(message).expect("JSON");
        self.socket.send(Message::text(text)).await.map_err(|_gone| None)
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("is connected");
    }

    /// Sends a WebSocket ping and waits for its pong, whatever else comes.
    pub(crate) async fn pinged(&mut self, payload: &'static [u8]) {
        self.socket.send(Message::Ping(payload.into())).await.expect("is connected");
        let answered = async {
            while let Some(message) = self.socket.next().await {
                if let Message::Pong(answer) = message.expect("stays open") {
                    return answer;
                }
            }
            panic!("the connection stays open")
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), answered).await.expect("a pong within 20 s");
        assert_eq!(answer, payload, "the pong has the ping's payload");
    }

    /// The next message; a server that says nothing for 20 s has failed.
    pub(crate) async fn next(&mut self) -> Result<ServerMessage, Ended> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.socket.next());
            match next.await.expect("the server says something within 20 s") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The first message that `wanted` takes.
    pub(crate) async fn find<T>(&mut self, mut wanted: impl FnMut(ServerMessage) -> Option<T>) -> T {
        let searched = async {
            loop {
                let message = self.next().await.expect("the connection stays open");
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), searched).await.expect("what is wanted comes within 60 s")
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Ended {
        let over = async {
            loop {
                if let Err(ended) = self.next().await {
                    return ended;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), over).await.expect("the connection ends within 60 s")
    }
}
