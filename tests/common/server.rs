//! A hub and a gateway on a port of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir::gateway::auth::Auth;
use weir::gateway::origin::Origins;
use weir::gateway::{Config, Gateway, router};
use weir::hub::Hub;
use weir::shutdown::Shutdown;
use weir::status::{Phase, Status};

pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) status: Status,
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) shutdown: Shutdown,
}

impl Server {
    /// A live server of the epoch `e1`.
    pub(crate) async fn start() -> Server {
        Server::with(live_hub(weir::hub::Config::default()), Config::default(), Auth::open()).await
    }

    pub(crate) async fn with(hub: Hub, config: Config, auth: Auth) -> Server {
        let status = Status::default();
        status.update(|status| status.phase = Phase::Live);
        let shutdown = Shutdown::default();
        let gateway = Gateway::new(hub.clone(), status.clone(), auth, Origins::default(), config, shutdown.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let limits = weir::http::Limits {
            connections_max: 1_000,
            connections_per_address_max: 0,
            header_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
        };
        let served = weir::http::serve(listener, router(Arc::clone(&gateway)), limits, shutdown.clone());
        weir::task::spawn("http", served);
        Server { hub, status, address, gateway, shutdown }
    }
}

pub(crate) fn live_hub(config: weir::hub::Config) -> Hub {
    let hub = Hub::new(config);
    hub.start_epoch("e1".into());
    hub.set_live();
    hub
}
