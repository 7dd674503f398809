//! The engine as a part of the server: fed by the logs, feeding the hub.
//!
//! Contract: the engine has a token of its own, triggered after the last request was answered, so that whoever waits for
//! a verdict gets it. When the engine fails it triggers that token by itself, and the whole server ends with it.

use super::ServeError;
use super::storage::{self, Storage};
use crate::config::Config;
use crate::engine::{self, EngineConfig, EngineHandle, FrameSink, Rejected, Snapshots};
use crate::hub::Hub;
use crate::questions::Questions;
use crate::rejects::sink::Sink;
use crate::shutdown::Shutdown;
use crate::status::Status;
use crate::task;
use crate::verdicts::Verdicts;
use std::sync::Arc;
use weir_schemas::row::Row;
use weir_schemas::update::{Digest, Frame};

/// A running engine and its token.
pub(super) struct Engine {
    handle: EngineHandle,
    rejects: Option<Arc<Sink>>,
    shutdown: Shutdown,
}

impl Engine {
    /// Starts it; recovery goes on behind. When it ends by itself it triggers `server`.
    pub(super) fn start(
        (config, accepted_losses): (&Config, &[String]),
        storage: &mut Storage,
        hub: Hub,
        status: Status,
        asked: (Arc<Verdicts>, Arc<Questions>),
        server: Shutdown,
    ) -> Result<Engine, ServeError> {
        let shutdown = Shutdown::default();
        let snapshots =
            storage.snapshots.clone().map(|store| Snapshots { store, every_ms: config.snapshots.every.ms() });
        let rejects = storage.rejects.take().map(Arc::new);
        let handle = engine::start(
            EngineConfig { snapshots, ..engine_config(config, accepted_losses) },
            storage.logs.clone(),
            Arc::new(Sinks { hub, rejects: rejects.clone() }),
            status,
            asked,
            shutdown.clone(),
        )?;
        let ended = shutdown.clone();
        task::spawn("engine end", async move {
            ended.wait().await;
            server.trigger();
        });
        Ok(Engine { handle, rejects, shutdown })
    }

    /// Lets it finish what is durable and waits until it has; blocks.
    pub(super) fn finish(self) -> Result<(), ServeError> {
        self.shutdown.trigger();
        let ended = self.handle.join();
        if let Some(rejects) = self.rejects.and_then(Arc::into_inner) {
            rejects.finish();
        }
        Ok(ended?)
    }
}

fn engine_config(config: &Config, accepted_losses: &[String]) -> EngineConfig {
    EngineConfig {
        workers: config.engine.workers,
        tick_min: config.engine.tick_min.duration(),
        tick_max: config.engine.tick_max.duration(),
        dataflow: config.dataflow(&storage::topics(config)),
        limits: config.limits.limits(),
        accepted_losses: accepted_losses.to_vec(),
        ..EngineConfig::default()
    }
}

/// Where the engine hands everything on to.
struct Sinks {
    hub: Hub,
    rejects: Option<Arc<Sink>>,
}

impl FrameSink for Sinks {
    fn epoch(&self, epoch: Arc<str>) {
        self.hub.start_epoch(epoch);
    }
    fn frame(&self, frame: Frame) {
        self.hub.publish(frame);
    }
    fn rejected(&self, upper: u64, rejected: &[Rejected]) {
        if let Some(sink) = &self.rejects {
            sink.rejected(upper, rejected);
        }
    }
    fn rows(&self) -> Vec<Vec<Row>> {
        self.hub.rows()
    }
    fn restore(&self, tick: u64, rows: Vec<Vec<Row>>, digests: &[Digest]) {
        self.hub.restore(tick, rows, digests);
    }
    fn live(&self) {
        self.hub.set_live();
    }
}
