//! The wire alone, without a store: to measure what a call costs and to check the protocol.
//!
//! `cargo run --release -p reeve-net --example wire -- [PORT] [REACTORS]` serves on 127.0.0.1: `/wire.Wire/Empty` answers
//! with an empty message, `/wire.Wire/Echo` with the request, `/wire.Wire/Later` with the request on the next turn, and
//! `/wire.Wire/Stream` sends every request back as it comes.

use bytes::Bytes;
use reeve_net::{
    grpc::Router,
    http::{Endpoints, Health, Versions},
    http2::Limits,
    listen::{Acceptor, Arrival, ListenAddress, Listener, Placement, Server, ServerOptions},
    reactor::{self, Capacity, MailboxReceiver, Reactors, mailbox},
};
use std::{
    error::Error,
    sync::{Arc, Mutex},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn router() -> Router {
    let mut router = Router::new();
    router.unary_deferred("/wire.Wire/Empty", |_, _, responder| {
        responder.finish(Ok(Bytes::new()))
    });
    router.unary("/wire.Wire/Echo", |_, message| async move { Ok(message) });
    router.unary("/wire.Wire/Later", |_, message| async move {
        glommio::executor().yield_now().await;
        Ok(message)
    });
    router.streaming(
        "/wire.Wire/Stream",
        |_, mut requests, responses| async move {
            while let Some(message) = requests.next().await? {
                if responses.send(message).await.is_err() {
                    break;
                }
            }
            Ok(())
        },
    );
    router
}

fn endpoints() -> Endpoints {
    let health = |_| async {
        Health {
            healthy: true,
            reason: String::new(),
        }
    };
    let version = || "3.7.0".to_owned();
    let versions = move || Versions {
        server: version(),
        cluster: version(),
        storage: version(),
    };
    Endpoints::new(health, versions)
}

async fn run(index: usize, arrivals: MailboxReceiver<Arrival>) {
    let options = ServerOptions {
        reactor: index,
        limits: Limits::default(),
        router: router(),
        endpoints: endpoints(),
    };
    Server::new(options).run(arrivals).await;
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(50051), |port| port.parse())?;
    let reactors = arguments.next().map_or(Ok(1), |count| count.parse())?;
    reactor::probe()?;
    let address = ListenAddress::Tcp(([127, 0, 0, 1], port).into());
    let listener = Listener::bind(&address, false)?;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..reactors)
        .map(|_| {
            mailbox(Capacity {
                system: 1,
                client: 4096,
            })
        })
        .unzip();
    let placement = Placement::new(senders, reactor::raise_descriptor_limit() as usize - 150);
    let receivers = Arc::new(Mutex::new(
        receivers.into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let acceptor = Arc::new(Mutex::new(Some((listener, placement))));
    let running = Reactors::start(reactors, move |index| {
        let arrivals = receivers.lock().ok().and_then(|mut all| all[index].take());
        let acceptor = acceptor
            .lock()
            .ok()
            .and_then(|mut acceptor| acceptor.take());
        async move {
            if let Some((listener, placement)) = acceptor
                && let Ok(acceptor) = Acceptor::new(listener, placement)
            {
                glommio::spawn_local(acceptor.run()).detach();
            }
            if let Some(arrivals) = arrivals {
                run(index, arrivals).await;
            }
        }
    })?;
    running.join()?;
    Ok(())
}
