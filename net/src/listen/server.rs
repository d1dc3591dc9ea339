//! One reactor's share of the server: its connections and what they have in common.

use super::{acceptor::Arrival, connection};
use crate::{
    grpc::Router,
    http::Endpoints,
    http2::{FlushQueue, Limits},
    reactor::MailboxReceiver,
};
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

/// How often deadlines of calls are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between looks at whole connections.
const TICKS_PER_SWEEP: u32 = 10;

/// Size of the buffer that all reads of a reactor go through.
const READ_BYTES: usize = 64 * 1024;

/// Connections that one turn takes in.
const ARRIVALS_PER_TURN: usize = 64;

/// What a reactor serves, and to whom.
#[derive(Debug)]
pub struct ServerOptions {
    /// Index of the reactor.
    pub reactor: usize,
    /// Limits of each connection.
    pub limits: Limits,
    /// The methods.
    pub router: Router,
    /// The HTTP/1 endpoints.
    pub endpoints: Endpoints,
}

/// Something with deadlines of its own. Looked at on every tick, from outside its own tasks.
pub(crate) trait Swept {
    /// A tick; `sweep` once a second or so.
    fn tick(&self, now: Instant, sweep: bool);
    /// No further request is taken; it ends when those that run have ended.
    fn drain(&self);
    /// It ends now.
    fn close(&self);
}

/// One reactor's share of the server.
#[derive(Debug)]
pub struct Server {
    pub(crate) reactor: usize,
    pub(crate) limits: Rc<Limits>,
    pub(crate) router: Router,
    pub(crate) endpoints: Endpoints,
    /// All reads go through this buffer, so an idle connection needs none.
    pub(crate) read_buffer: RefCell<Vec<u8>>,
    /// Connections with output to be written at the end of this turn.
    pub(crate) flushes: FlushQueue,
    swept: RefCell<Vec<WeakSwept>>,
    pub(crate) draining: Cell<bool>,
}

struct WeakSwept(Weak<dyn Swept>);

impl std::fmt::Debug for WeakSwept {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("WeakSwept")
    }
}

impl Server {
    /// A server without connections; call it on its reactor.
    pub fn new(options: ServerOptions) -> Rc<Server> {
        Rc::new(Server {
            reactor: options.reactor,
            limits: Rc::new(options.limits),
            router: options.router,
            endpoints: options.endpoints,
            read_buffer: RefCell::new(vec![0; READ_BYTES]),
            flushes: FlushQueue::default(),
            swept: RefCell::default(),
            draining: Cell::new(false),
        })
    }

    /// Serves the connections that arrive, for ever. Also runs the timers of all of them.
    pub async fn run(self: Rc<Self>, mut arrivals: MailboxReceiver<Arrival>) {
        glommio::spawn_local(Rc::clone(&self).run_ticks()).detach();
        glommio::spawn_local(Rc::clone(&self).run_flushes()).detach();
        loop {
            arrivals.ready().await;
            arrivals.drain(ARRIVALS_PER_TURN, |_, arrival| {
                if !self.draining.get() {
                    let server = Rc::clone(&self);
                    glommio::spawn_local(connection::serve(server, arrival)).detach();
                }
            });
            glommio::yield_if_needed().await;
        }
    }

    async fn run_flushes(self: Rc<Self>) {
        loop {
            self.flushes.wait().await;
            self.flushes.flush();
        }
    }

    async fn run_ticks(self: Rc<Self>) {
        let mut ticks = 0_u32;
        loop {
            glommio::timer::sleep(TICK).await;
            ticks = ticks.wrapping_add(1);
            let sweep = ticks.is_multiple_of(TICKS_PER_SWEEP);
            self.for_all(|swept| swept.tick(Instant::now(), sweep));
        }
    }

    /// Enrols something with deadlines; it leaves by being dropped.
    pub(crate) fn enrol(&self, swept: Weak<dyn Swept>) {
        self.swept.borrow_mut().push(WeakSwept(swept));
    }

    /// Calls `visit` for everything enrolled that still exists.
    fn for_all(&self, visit: impl Fn(&dyn Swept)) {
        // Taken out, as a visit may enrol or drop others.
        let mut swept = std::mem::take(&mut *self.swept.borrow_mut());
        swept.retain(|WeakSwept(weak)| {
            let alive = weak.upgrade();
            if let Some(swept) = &alive {
                visit(&**swept);
            }
            alive.is_some()
        });
        let mut place = self.swept.borrow_mut();
        swept.append(&mut place);
        *place = swept;
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.swept
            .borrow()
            .iter()
            .filter(|WeakSwept(weak)| weak.strong_count() > 0)
            .count()
    }

    /// Tells every client to go elsewhere, waits up to `grace` for the calls that run, then ends the rest.
    pub async fn stop(&self, grace: Duration) {
        self.draining.set(true);
        self.for_all(|swept| swept.drain());
        let end = Instant::now() + grace;
        while self.connections() > 0 && Instant::now() < end {
            glommio::timer::sleep(Duration::from_millis(10)).await;
        }
        self.for_all(|swept| swept.close());
        // Lets the tasks of the connections see it and close their sockets.
        glommio::timer::sleep(Duration::from_millis(10)).await;
    }
}
