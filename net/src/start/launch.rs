//! From a configuration to running reactors, and back to an orderly end.

use crate::{
    config::{Config, Url},
    grpc::Router,
    http::Endpoints,
    http2::{DEFAULT_CONCURRENT_STREAMS, Limits},
    listen::{
        ListenAddress, Listener, PeerListener, Reception, ReceptionPart, Server, ServerOptions,
    },
    log::Shown,
    reactor::{self, Reactors, Stop},
};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Why the server does not run. Each text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The kernel or its configuration.
    #[error(transparent)]
    Kernel(#[from] reactor::ProbeError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] crate::listen::BindError),
    /// An executor.
    #[error(transparent)]
    Reactor(#[from] reactor::ReactorError),
    /// A reactor has nothing to serve.
    #[error("{0}")]
    Setup(String),
}

/// Where a setup runs.
#[derive(Clone, Debug)]
pub struct ReactorSetup {
    /// Index of the reactor.
    pub index: usize,
    /// Number of reactors.
    pub count: usize,
    /// Ends the process when it is raised, for example by a node that cannot go on.
    pub stop: Stop,
}

/// What a reactor serves.
pub struct Service {
    /// Its gRPC methods.
    pub router: Router,
    /// Its HTTP/1 endpoints.
    pub endpoints: Endpoints,
    /// Whether clients get more than refusals; only then is the server announced as ready.
    pub ready: bool,
    /// Runs after all reactors have served their last request: the place to seal the log.
    pub finish: Pin<Box<dyn Future<Output = ()>>>,
}

/// The reason of a [`Stop`] that a failed setup raises; no signal has this number.
const SETUP_FAILED: i32 = -1;

/// The reason of a [`Stop`] that a part of the server raises because it cannot go on, after it has logged why.
pub const STOP_FAILED: i32 = -2;

/// The reason of a [`Stop`] that is raised because this member was removed from its cluster. As with etcd, the process
/// then ends as if it had done all that it was to do.
pub const STOP_REMOVED: i32 = -3;

/// Requests that run when the process is told to stop get this long.
const GRACE: Duration = Duration::from_secs(5);

/// How many reactors a configuration asks for.
#[must_use]
pub fn reactor_count(config: &Config) -> usize {
    match config.reactors {
        0 => reactor::available_cores(),
        count => count,
    }
}

/// Starts the reactors, serves until a stop signal, and answers its number (or another reason of [`Stop`]).
///
/// `setup` is called on each reactor, and may wait there for others. Connections are accepted once all setups are done.
pub fn launch<S, F>(config: &Config, setup: S) -> Result<i32, LaunchError>
where
    S: Fn(ReactorSetup) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Service, String>> + 'static,
{
    reactor::probe()?;
    let descriptors = reactor::raise_descriptor_limit();
    let listeners = bind(config)?;
    let count = reactor_count(config);
    let shared = Arc::new(Shared {
        stop: Stop::new(count),
        addresses: listeners
            .iter()
            .filter_map(|listener| listener.address().ok())
            .collect(),
        reception: Reception::new(listeners, count, descriptors),
        limits: limits(config),
        count,
        unready: AtomicUsize::new(count),
        serving: AtomicUsize::new(count),
        failure: Mutex::new(None),
    });
    let running = {
        let shared = Arc::clone(&shared);
        Reactors::start(count, move |index| {
            run(index, Arc::clone(&shared), setup.clone())
        })?
    };
    running.join()?;
    let failure = shared
        .failure
        .lock()
        .ok()
        .and_then(|mut failure| failure.take());
    match failure {
        Some(reason) => Err(LaunchError::Setup(reason)),
        None => Ok(shared.stop.reason().unwrap_or(STOP_FAILED)),
    }
}

/// What the reactors know of each other.
struct Shared {
    stop: Stop,
    addresses: Vec<ListenAddress>,
    reception: Reception,
    limits: Limits,
    count: usize,
    /// Reactors whose setup is not done.
    unready: AtomicUsize,
    /// Reactors that still serve.
    serving: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn fail(&self, reason: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(reason);
        }
        self.stop.raise(SETUP_FAILED);
    }
}

/// The life of one reactor.
async fn run<S, F>(index: usize, shared: Arc<Shared>, setup: S)
where
    S: Fn(ReactorSetup) -> F,
    F: Future<Output = Result<Service, String>> + 'static,
{
    if index == reactor::SEQUENCER {
        let stop = shared.stop.clone();
        glommio::spawn_local(async move {
            match reactor::stop_signal().await {
                Ok(signal) => {
                    crate::info!("received signal; shutting down", "signal" => signal_name(signal));
                    stop.raise(signal);
                }
                Err(error) => crate::error!("cannot wait for signals", "error" => Shown(error)),
            }
        })
        .detach();
    }
    let (count, stop) = (shared.count, shared.stop.clone());
    let service = match setup(ReactorSetup { index, count, stop }).await {
        Ok(service) => Some(service),
        Err(reason) => {
            shared.fail(reason);
            None
        }
    };
    shared.unready.fetch_sub(1, Ordering::AcqRel);
    until_zero(&shared.unready, &shared.stop).await;
    let part = shared.reception.take(index);
    let finish = match (service, part) {
        (Some(service), Some(part)) => Some(serve(index, &shared, service, part).await),
        _ => None,
    };
    shared.serving.fetch_sub(1, Ordering::AcqRel);
    while shared.serving.load(Ordering::Acquire) > 0 {
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
    if let Some(finish) = finish {
        finish.await;
    }
}

/// Waits until every reactor has got so far, or until the process shall stop.
async fn until_zero(counter: &AtomicUsize, stop: &Stop) {
    while counter.load(Ordering::Acquire) > 0 && stop.reason().is_none() {
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
}

/// Serves until the process shall stop; answers what is left to do then.
async fn serve(
    index: usize,
    shared: &Shared,
    service: Service,
    part: ReceptionPart,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let Service {
        router,
        endpoints,
        ready,
        finish,
    } = service;
    let limits = shared.limits.clone();
    let server = Server::new(ServerOptions {
        reactor: index,
        limits,
        router,
        endpoints,
    });
    match part.start(&server) {
        Ok(receiving) => {
            if ready
                && index == reactor::client_reactors(shared.count).start
                && shared.stop.reason().is_none()
            {
                announce(&shared.addresses);
            }
            shared.stop.raised(index).await;
            receiving.close().await;
            server.stop(GRACE).await;
        }
        Err(error) => shared.fail(error.to_string()),
    }
    finish
}

/// The lines that operators and tests wait for.
fn announce(addresses: &[ListenAddress]) {
    crate::info!("ready to serve client requests");
    for address in addresses {
        crate::info!(
            "serving client traffic insecurely; this is strongly discouraged!",
            "traffic" => "grpc+http",
            "address" => Shown(address),
        );
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => "interrupt",
        15 => "terminated",
        _ => "other",
    }
}

/// Binds every client URL. A list with one port twice, as `localhost` and as its address, is bound once.
fn bind(config: &Config) -> Result<Vec<Listener>, crate::listen::BindError> {
    bind_urls(&config.listen_client_urls, config.socket_reuse_port)
}

fn bind_urls(urls: &[Url], reuse_port: bool) -> Result<Vec<Listener>, crate::listen::BindError> {
    let mut addresses: Vec<ListenAddress> = Vec::new();
    for address in urls.iter().filter_map(listen_address) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
        .iter()
        .map(|address| {
            bind_patiently(address, reuse_port, || {
                std::thread::sleep(BIND_PAUSE);
            })
        })
        .collect()
}

/// Binds every peer URL.
///
/// # Errors
/// An address cannot be bound.
pub fn bind_peers(config: &Config) -> Result<Vec<PeerListener>, crate::listen::BindError> {
    let (secure, plain): (Vec<Url>, Vec<Url>) = config
        .listen_peer_urls
        .iter()
        .cloned()
        .partition(Url::is_secure);
    let mut listeners = Vec::new();
    for (urls, is_secure) in [(plain, false), (secure, true)] {
        let bound = bind_urls(&urls, config.socket_reuse_port)?;
        listeners.extend(bound.into_iter().map(|listener| PeerListener {
            listener,
            is_secure,
        }));
    }
    Ok(listeners)
}

/// How often, and how long apart, an address in use is tried: for a second in all.
const BIND_ATTEMPTS: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// Binds, and waits a moment for an address in use: the kernel takes down the rings of a killed process after its end, and
/// a ring that waits on a listener keeps it open until then (under 50 ms, as measured under load).
fn bind_patiently(
    address: &ListenAddress,
    reuse_port: bool,
    mut pause: impl FnMut(),
) -> Result<Listener, crate::listen::BindError> {
    for _ in 1..BIND_ATTEMPTS {
        match Listener::bind(address, reuse_port) {
            Err(crate::listen::BindError::InUse { .. }) => pause(),
            done => return done,
        }
    }
    Listener::bind(address, reuse_port)
}

/// Where to listen for a URL; the configuration's check has seen to it that there is an address.
fn listen_address(url: &Url) -> Option<ListenAddress> {
    if url.is_unix() {
        return Some(ListenAddress::Unix(url.path.clone()));
    }
    let host = url.bind_address()?;
    Some(ListenAddress::Tcp(SocketAddr::new(host, url.port?)))
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_message_bytes: config.max_message_bytes(),
        max_concurrent_streams: config
            .max_concurrent_streams
            .min(DEFAULT_CONCURRENT_STREAMS),
        ping_min_interval: config.grpc_keepalive_min_time,
        ping_after_idle: config.grpc_keepalive_interval,
        ping_timeout: config.grpc_keepalive_timeout,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::BindError;
    use std::net::TcpListener;

    fn held() -> (TcpListener, ListenAddress) {
        let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = ListenAddress::Tcp(holder.local_addr().unwrap());
        (holder, address)
    }

    #[test]
    fn an_address_that_becomes_free_is_waited_for() {
        let (holder, address) = held();
        let mut holder = Some(holder);
        let mut pauses = 0;
        let bound = bind_patiently(&address, false, || {
            pauses += 1;
            if pauses == 3 {
                holder = None;
            }
        });
        assert!(bound.is_ok(), "{:?}", bound.err());
        assert_eq!(pauses, 3);
    }

    #[test]
    fn an_address_that_stays_in_use_is_given_up_soon() {
        let (_holder, address) = held();
        let mut pauses = 0;
        let bound = bind_patiently(&address, false, || pauses += 1);
        assert!(matches!(bound.err(), Some(BindError::InUse { .. })));
        assert!(BIND_PAUSE * pauses <= Duration::from_secs(1), "{pauses}");
    }
}
