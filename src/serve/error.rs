//! Why a server cannot start or go on, with the exit code and the remedy of each.

use crate::engine::EngineError;
use crate::engine::snapshots::SnapshotError;
use crate::exit::{Exit, Failure};
use crate::gateway::auth::{OpenToTheWorld, TokensError};
use crate::log::{Change, LogError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The address is open to others and there are no tokens.
    #[error(transparent)]
    Open(#[from] OpenToTheWorld),
    /// The tokens file cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The data folder cannot be made or written.
    #[error("cannot use the data folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The folder of snapshots cannot be made or read.
    #[error("cannot use the folder of snapshots {}", folder.display())]
    Snapshots {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: SnapshotError,
    },
    /// The file of properties of the Kafka client cannot be read.
    #[error("cannot read the Kafka properties {}", path.display())]
    Properties {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A line of it says nothing.
    #[error("the Kafka properties {}: line {line} is not name=value", path.display())]
    NoProperty {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A log cannot be opened or read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine ended by itself.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system does not tell of signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// A part of the server broke.
    #[error("{part} broke: {reason}")]
    Broken {
        /// Which.
        part: &'static str,
        /// What is known.
        reason: String,
    },
}

impl ServeError {
    /// The exit code and what to do about it.
    fn verdict(&self) -> (Exit, Option<&'static str>) {
        match self {
            ServeError::Listen { source, .. } => (Exit::Environment, Some(listen_remedy(source))),
            // Their messages say what to do.
            ServeError::Open(_) | ServeError::Tokens(_) | ServeError::NoProperty { .. } => (Exit::Usage, None),
            ServeError::Properties { .. } => {
                (Exit::Usage, Some("make it readable for this user, or set kafka.properties_file to another"))
            }
            ServeError::Folder { source, .. } => (Exit::Environment, Some(folder_remedy(source))),
            ServeError::Snapshots { .. } => (
                Exit::Environment,
                Some(
                    "make it writable for this user, or set snapshots.folder to another; snapshots.every = \"0s\" makes none",
                ),
            ),
            ServeError::Log(error) => log_verdict(error),
            ServeError::Engine(error) => engine_verdict(error),
            ServeError::Signals(_) | ServeError::Broken { .. } => (Exit::Failed, None),
        }
    }
}

fn listen_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another address with --listen",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose another with --listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one with --listen",
        _ => "choose another address with --listen",
    }
}

fn folder_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or choose another with --data"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there, or choose another with --data",
        _ => "choose another with --data",
    }
}

fn log_verdict(error: &LogError) -> (Exit, Option<&'static str>) {
    match error {
        LogError::Io { source, .. } => (Exit::Environment, Some(folder_remedy(source))),
        LogError::Locked { .. } => (
            Exit::Environment,
            Some("stop the server that uses this folder, or choose another with --data (and another --listen)"),
        ),
        LogError::Version { .. } => {
            (Exit::Data, Some("start the version of weir that wrote it, or choose another folder with --data"))
        }
        LogError::Corrupt { .. } => (
            Exit::Data,
            Some("restore the folder from a backup, or move it away and start with an empty one; nothing was changed"),
        ),
        LogError::OutOfRange { .. } => (Exit::Data, Some("restore the folder from a backup")),
        LogError::Kafka { .. } => (
            Exit::Environment,
            Some("see that the brokers run and can be reached from here, and that `weir topics create` was done"),
        ),
        // Their messages say what to do.
        LogError::Property(_) => (Exit::Usage, None),
        LogError::Overtaken { .. } | LogError::Closed { .. } => (Exit::Failed, None),
        LogError::Changed { change: Change::Partitions { .. }, .. } => (Exit::Failed, None),
        LogError::Changed { .. } => (Exit::Data, None),
    }
}

fn engine_verdict(error: &EngineError) -> (Exit, Option<&'static str>) {
    match error {
        EngineError::Log(error) => log_verdict(error),
        EngineError::Partitions { .. }
        | EngineError::Topic { .. }
        | EngineError::Entry { .. }
        | EngineError::Backwards { .. } => (
            Exit::Data,
            Some("restore the logs that belong together from a backup; with Kafka, see `weir topics create --check`"),
        ),
        // Their messages say what to do.
        EngineError::Mismatch { .. }
        | EngineError::Unbound { .. }
        | EngineError::Digest { .. }
        | EngineError::AnotherTopic { .. }
        | EngineError::Lost { .. } => (Exit::Data, None),
        EngineError::Fenced { .. } => (Exit::Replaced, None),
        EngineError::Append(_)
        | EngineError::Snapshot { .. }
        | EngineError::Workers { .. }
        | EngineError::WorkerEnded { .. }
        | EngineError::Thread { .. }
        | EngineError::Panicked { .. }
        | EngineError::Stopped => (Exit::Failed, None),
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        let (exit, remedy) = error.verdict();
        let failure = Failure::new(exit, &error);
        match remedy {
            Some(remedy) => failure.with_remedy(remedy),
            None => failure,
        }
    }
}
