//! One client's connection: what it says, what it is told, and when it is over.
//!
//! Contract: a session reads while it writes, one message under way at a time. Answers come first, then what the group has to
//! send, then, when nothing else was told for a while, `progress`. A changed condition of the server goes before the group's data.
//!
//! # Invariants
//! Bounded: a client that sends faster than it reads answers is not read from, and one message makes at most as many answers
//! as there may be subscriptions. A client is left only when it breaks the protocol's limits, when not one byte drained for
//! the configured time, when a snapshot took longer to drain than it may, or when the server ends.
//!
//! # Cost
//! A client that was not let in yet is looked at when it speaks and when its time is over, and at no other time.

use crate::connections::Place;
use crate::gateway::Gateway;
use crate::gateway::auth::{Identity, Role};
use crate::gateway::group::{Group, Next, to_json};
use crate::gateway::limits::{Bucket, Strikes};
use crate::gateway::options;
use crate::gateway::progress::{Condition, Pulse, stale_at};
use crate::gateway::socket::{Event, Socket};
use crate::hub::Head;
use crate::hub::query::{Query, QueryError, filters_from_json};
use metrics::{counter, gauge};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use weir_schemas::protocol::{
    ClientMessage, CloseCode, ErrorMessage, Hello, InvalidMessage, Progress, ServerMessage, Subscribe, VERSION,
    WelcomeLimits,
};

/// Answers that wait to be sent; above, the client is not read from.
const ANSWERS_MAX: usize = 64;
/// Refused messages in a minute that make abuse.
const REFUSALS_MAX: usize = 100;
/// Messages in a minute that were not understood.
const MALFORMED_MAX: usize = 10;

/// Why a connection is closed from this side.
#[derive(Debug)]
struct Close(CloseCode, &'static str);

/// How it went on after an event.
type Flow = Result<(), End>;

#[derive(Debug)]
enum End {
    Gone,
    Left,
    Close(Close),
}

fn close(code: CloseCode, reason: &'static str) -> End {
    End::Close(Close(code, reason))
}

/// One client's connection.
pub(crate) struct Session {
    gateway: Arc<Gateway>,
    socket: Socket,
    head: watch::Receiver<Head>,
    turns: watch::Receiver<bool>,
    id: String,
    identity: Option<Identity>,
    group: Group,
    answers: VecDeque<String>,
    inbound: Bucket,
    controls: Bucket,
    subscribes: Bucket,
    refusals: Strikes,
    malformed: Strikes,
    opened_at: Instant,
    ping_at: Instant,
    /// When the client last took bytes while some were under way, and how many it had taken then.
    drained_at: Instant,
    drained: u64,
    pulse: Pulse,
    _place: Place,
}

impl Drop for Session {
    fn drop(&mut self) {
        gauge!("weir_gateway_connections").decrement(1.0);
        counter!("weir_gateway_bytes_sent_total").increment(self.socket.written());
    }
}

impl Session {
    pub(crate) fn new(gateway: Arc<Gateway>, socket: Socket, identity: Option<Identity>, place: Place) -> Session {
        let now = Instant::now();
        let config = &gateway.config;
        gauge!("weir_gateway_connections").increment(1.0);
        Session {
            socket,
            head: gateway.hub.watch(),
            turns: gateway.status.turns(),
            id: gateway.next_connection_id(),
            identity: None,
            group: Group::new(gateway.snapshots.clone()),
            answers: VecDeque::new(),
            inbound: Bucket::new(config.inbound_per_second, now),
            controls: Bucket::new(config.inbound_per_second, now),
            subscribes: Bucket::new(config.subscribes_per_second, now),
            refusals: Strikes::new(REFUSALS_MAX),
            malformed: Strikes::new(MALFORMED_MAX),
            opened_at: now,
            ping_at: now + config.ping_interval,
            drained_at: now,
            drained: 0,
            pulse: Pulse::new(config.heartbeat, config.progress_interval, now),
            gateway,
            _place: place,
        }
        .identified(identity)
    }

    fn identified(mut self, identity: Option<Identity>) -> Session {
        if let Some(identity) = identity {
            self.welcome(identity);
        }
        self
    }

    /// Serves the client until it is gone or closed.
    pub(crate) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        match end {
            End::Gone => counter!("weir_gateway_closes_total", "code" => "gone").increment(1),
            End::Left => {
                counter!("weir_gateway_closes_total", "code" => "left").increment(1);
                self.socket.leave(self.gateway.config.close_timeout).await;
            }
            End::Close(Close(code, reason)) => {
                counter!("weir_gateway_closes_total", "code" => code.to_string()).increment(1);
                tracing::debug!(connection = %self.id, code = code.number(), reason, "closing");
                self.socket.close(code, reason, self.gateway.config.close_timeout).await;
            }
        }
    }

    async fn turn(&mut self) -> Flow {
        if self.gateway.shutdown.triggered() {
            return Err(close(CloseCode::Restart, "the server restarts"));
        }
        let now = Instant::now();
        if !self.socket.writing() {
            match self.next(now) {
                Next::Send(text) => self.send(text, now),
                Next::Again => {
                    tokio::task::yield_now().await;
                    return Ok(());
                }
                Next::Idle if now >= self.ping_at => {
                    self.ping_at = now + self.gateway.config.ping_interval;
                    self.socket.send_ping();
                }
                Next::Idle => {}
            }
        }
        self.check(now)?;
        let deadline = tokio::time::Instant::from_std(self.deadline(now));
        let moved = !self.socket.writing() && self.identity.is_some();
        let read = self.answers.len() < ANSWERS_MAX;
        let shutdown = self.gateway.shutdown.clone();
        tokio::select! {
            event = self.socket.event(read) => self.take(event),
            _moved = self.head.changed(), if moved => Ok(()),
            _turned = self.turns.changed(), if moved => Ok(()),
            () = tokio::time::sleep_until(deadline) => Ok(()),
            () = shutdown.wait() => Ok(()),
        }
    }

    fn send(&mut self, text: String, now: Instant) {
        counter!("weir_gateway_messages_sent_total").increment(1);
        self.drained_at = now;
        self.drained = self.socket.written();
        self.socket.send(text);
    }

    /// The next message to send.
    fn next(&mut self, now: Instant) -> Next {
        // A place to collect a snapshot is held for as long as the server takes, never for as long as the client does.
        let scanning = self.group.scanning();
        if !scanning && let Some(answer) = self.answers.pop_front() {
            return Next::Send(answer);
        }
        if self.identity.is_none() {
            return Next::Idle;
        }
        let head = self.head.borrow_and_update().clone();
        let timestamp = unix_ms();
        let condition = self.gateway.condition(&head, now);
        if !scanning && self.pulse.turned(condition, now) && self.group.between_messages(&head) {
            let progress = self.gateway.progress(&head, condition, self.group.place(&head), timestamp);
            return self.progress(condition, progress, now);
        }
        match self.group.next(&self.gateway.hub, &head, timestamp) {
            Next::Idle => {}
            Next::Send(text) => {
                self.pulse.told(now);
                return Next::Send(text);
            }
            Next::Again => return Next::Again,
        }
        let progress = self.gateway.progress(&head, condition, self.group.place(&head), timestamp);
        if self.pulse.due(&progress, now) { self.progress(condition, progress, now) } else { Next::Idle }
    }

    fn progress(&mut self, condition: Condition, progress: Progress, now: Instant) -> Next {
        self.group.told(progress.time);
        self.pulse.sent(condition, progress.clone(), now);
        Next::Send(to_json(&ServerMessage::Progress(progress)))
    }

    /// When to look again though nothing happened.
    fn deadline(&self, now: Instant) -> Instant {
        let config = &self.gateway.config;
        let writing = self.socket.writing();
        let ours = if writing { self.drained_at + config.drain_timeout } else { self.ping_at };
        if self.identity.is_none() {
            return ours.min(self.opened_at + config.hello_timeout);
        }
        if writing {
            return self.group.snapshot_began_at().map_or(ours, |at| ours.min(at + config.snapshot_timeout));
        }
        let next = ours.min(self.pulse.next());
        let stale_at = stale_at(&self.head.borrow());
        if now < stale_at { next.min(stale_at) } else { next }
    }

    /// Whether the client may stay.
    fn check(&mut self, now: Instant) -> Flow {
        let config = &self.gateway.config;
        if self.identity.is_none() && now >= self.opened_at + config.hello_timeout {
            return Err(close(CloseCode::HelloTimeout, "no token came"));
        }
        if !self.socket.writing() {
            return Ok(());
        }
        let written = self.socket.written();
        if written != self.drained {
            self.drained = written;
            self.drained_at = now;
        } else if now >= self.drained_at + config.drain_timeout {
            return Err(close(CloseCode::NoProgress, "nothing was read for too long"));
        }
        if self.group.snapshot_began_at().is_some_and(|at| now >= at + config.snapshot_timeout) {
            return Err(close(CloseCode::NoProgress, "a snapshot was read too slowly"));
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Flow {
        match event {
            Event::Text(text) => self.hear(|| ClientMessage::parse(&text)),
            Event::Binary => self.hear(|| {
                let problem = "a binary frame: messages are text".to_owned();
                Err(InvalidMessage { problem, subscription_id: None })
            }),
            Event::Control => {
                let now = Instant::now();
                if self.controls.take(now).is_err() { self.refuse(now) } else { Ok(()) }
            }
            Event::Flushed => Ok(()),
            Event::Leaves => Err(End::Left),
            Event::Gone => Err(End::Gone),
            Event::Broken(problem) => {
                tracing::debug!(connection = %self.id, problem, "not understood");
                Err(close(CloseCode::BadMessage, "a message was over the limit or no WebSocket message"))
            }
        }
    }

    /// Acts on a message, which is looked at only within the rate.
    fn hear(&mut self, message: impl FnOnce() -> Result<ClientMessage, InvalidMessage>) -> Flow {
        let now = Instant::now();
        if let Err(wait) = self.inbound.take(now) {
            self.answer_later("Message rate limit exceeded", wait, None);
            return self.refuse(now);
        }
        match message() {
            Ok(ClientMessage::Hello(hello)) => self.hello(hello),
            Ok(ClientMessage::Auth { token }) => self.authenticate(Some(&token)),
            Ok(ClientMessage::Ping { id }) => {
                self.answer(&ServerMessage::Pong { id, timestamp: unix_ms() });
                Ok(())
            }
            Ok(ClientMessage::Subscribe(subscribe)) => {
                self.known()?;
                if let Err(wait) = self.subscribes.take(now) {
                    self.answer_later("Subscription rate limit exceeded", wait, Some(subscribe.subscription_id));
                    return self.refuse(now);
                }
                self.subscribe(subscribe);
                Ok(())
            }
            Ok(ClientMessage::Unsubscribe { subscription_id }) => {
                self.known()?;
                if !self.group.unsubscribe(&subscription_id) {
                    let error = format!("there is no subscription {subscription_id:?}");
                    self.answer_error("unknown_subscription", error, Some(subscription_id));
                }
                Ok(())
            }
            Err(invalid) => {
                self.answer_error("invalid_message", invalid.to_string(), invalid.subscription_id);
                if self.malformed.strike(now) {
                    return Err(close(CloseCode::BadMessage, "too many messages were not understood"));
                }
                Ok(())
            }
        }
    }

    fn refuse(&mut self, now: Instant) -> Flow {
        if self.refusals.strike(now) { Err(close(CloseCode::Abuse, "limits were ignored")) } else { Ok(()) }
    }

    fn known(&self) -> Flow {
        match &self.identity {
            Some(_) => Ok(()),
            None => Err(close(CloseCode::Unauthorized, "a token is needed: hello or auth first")),
        }
    }

    fn authenticate(&mut self, token: Option<&str>) -> Flow {
        match self.gateway.auth.identify(token) {
            Ok(identity) if !identity.may(Role::Read) => {
                Err(close(CloseCode::Forbidden, "the token lacks the role read"))
            }
            Ok(identity) => {
                if self.identity.is_none() {
                    self.welcome(identity);
                } else {
                    self.identity = Some(identity);
                }
                Ok(())
            }
            Err(_) => Err(close(CloseCode::Unauthorized, "the token is missing or not known")),
        }
    }

    fn hello(&mut self, hello: Hello) -> Flow {
        if hello.v != VERSION {
            return Err(close(CloseCode::BadMessage, "hello: only version 1 is spoken here"));
        }
        if hello.token.is_some() || self.identity.is_none() {
            self.authenticate(hello.token.as_deref())?;
        }
        let max = self.gateway.config.subscriptions_max;
        if hello.resume.len() > max {
            self.answer_error("too_many_subscriptions", format!("a connection has at most {max} subscriptions"), None);
            return Ok(());
        }
        for subscribe in hello.resume {
            self.subscribe(subscribe);
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe { subscription_id: id, channel, filters, options, since } = subscribe;
        let max = self.gateway.config.subscriptions_max;
        if self.group.len() >= max {
            let error = format!("a connection has at most {max} subscriptions");
            return self.answer_error("too_many_subscriptions", error, Some(id));
        }
        if self.group.contains(&id) {
            let error = format!("the subscription {id:?} exists: unsubscribe it first, or take another name");
            return self.answer_error("subscription_exists", error, Some(id));
        }
        if let Err(error) = options::check(&options) {
            return self.answer_error(error.code(), error.to_string(), Some(id));
        }
        let query = filters_from_json(&filters).and_then(|filters| Query::new(&channel, filters));
        match query {
            Ok(query) => self.group.subscribe(id, query, since),
            Err(error) => self.answer_error(QueryError::code(&error), error.to_string(), Some(id)),
        }
    }

    fn welcome(&mut self, identity: Identity) {
        self.identity = Some(identity);
        let config = &self.gateway.config;
        let head = self.head.borrow().clone();
        let welcome = ServerMessage::Welcome {
            v: VERSION,
            connection_id: self.id.clone(),
            server: config.server_name.clone(),
            epoch: head.epoch.to_string(),
            time: head.time,
            heartbeat_ms: u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX),
            limits: WelcomeLimits {
                subscriptions: config.subscriptions_max,
                inbound_per_sec: config.inbound_per_second,
                message_bytes: config.message_bytes_max,
            },
        };
        self.answer(&welcome);
    }

    fn answer(&mut self, message: &ServerMessage) {
        self.answers.push_back(to_json(message));
    }

    fn answer_error(&mut self, code: &str, error: String, subscription_id: Option<String>) {
        let code = code.to_owned();
        self.answer(&ServerMessage::Error(ErrorMessage {
            code,
            error,
            temporary: false,
            retry_after_ms: None,
            subscription_id,
        }));
    }

    fn answer_later(&mut self, error: &str, wait: Duration, subscription_id: Option<String>) {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.answer(&ServerMessage::Error(ErrorMessage {
            code: "rate_limited".to_owned(),
            error: error.to_owned(),
            temporary: true,
            retry_after_ms: Some(wait_ms),
            subscription_id,
        }));
    }
}

/// The wall clock, epoch ms: for the client's eyes only.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
