//! The login of a user. All connections of a run share its token, which is renewed when the server
//! takes it no longer: because it expired, the server restarted, or users changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::client::Client;
use super::clock::{Nanos, SECOND, now};
use super::error::{BenchError, BenchResult};
use super::http2::Code;
use super::target::Target;

/// How long servers that cannot be reached are asked for a new token.
const PATIENCE: Nanos = 5 * SECOND;
/// Pause between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(100);

/// A token with its number: each login has the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// 1 for the first login.
    pub number: u64,
    /// What calls carry.
    pub text: String,
}

/// See the module's head.
pub struct Login {
    name: String,
    password: String,
    state: Mutex<State>,
    /// The number of the newest token, to be read without the lock.
    newest: AtomicU64,
    /// Held while somebody logs in, so that no two do it at once.
    renewal: Mutex<()>,
}

struct State {
    token: Token,
    refused: Option<String>,
}

/// Whether the next attempt may succeed: no server answered, or it has no leader at present.
fn may_pass(error: &BenchError) -> bool {
    match error {
        BenchError::Unreachable(_) => true,
        BenchError::Refused { status, .. } => status.code == Code::UNAVAILABLE,
        _ => false,
    }
}

/// What has become of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// No newer token yet.
    UnderWay,
    /// There is one.
    Done(Token),
    /// The login was refused, or no server could be reached.
    Refused(String),
}

impl Login {
    /// Logs in at the first server of `target`.
    ///
    /// # Errors
    /// [`BenchError::Refused`] for a wrong user or password, [`BenchError::Unreachable`].
    pub fn new(target: &Target, name: &str, password: &str) -> BenchResult<Self> {
        let mut client = Client::connect(target, &target.endpoints[0], target.dial_timeout)?;
        let text = client.authenticate(name, password)?;
        Ok(Self {
            name: name.to_owned(),
            password: password.to_owned(),
            state: Mutex::new(State {
                token: Token { number: 1, text },
                refused: None,
            }),
            newest: AtomicU64::new(1),
            renewal: Mutex::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// The newest token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.state().token.clone()
    }

    /// What has come after token number `seen`.
    #[must_use]
    pub fn since(&self, seen: u64) -> Renewal {
        let state = self.state();
        match &state.refused {
            _ if state.token.number > seen => Renewal::Done(state.token.clone()),
            Some(why) => Renewal::Refused(why.clone()),
            None => Renewal::UnderWay,
        }
    }

    /// Number of the newest token.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Logs in again at one of `target`'s servers, unless somebody has done so since token number
    /// `seen`.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the server no longer knows user or password,
    /// [`BenchError::Unreachable`] when no server answers for five seconds.
    pub fn renew(&self, target: &Target, seen: u64) -> BenchResult<Token> {
        let _alone = self
            .renewal
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        match self.since(seen) {
            Renewal::Done(token) => return Ok(token),
            Renewal::Refused(why) => return Err(BenchError::Unreachable(why)),
            Renewal::UnderWay => {}
        }
        let began = now();
        let outcome = loop {
            match self.ask(target) {
                Err(error) if may_pass(&error) && now() - began < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                other => break other,
            }
        };
        let mut state = self.state();
        match outcome {
            Ok(text) => {
                state.token = Token {
                    number: state.token.number + 1,
                    text,
                };
                self.newest.store(state.token.number, Ordering::Release);
                Ok(state.token.clone())
            }
            Err(error) => {
                state.refused = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Asks each server in turn until one gives a token.
    fn ask(&self, target: &Target) -> BenchResult<String> {
        // A void token on the call itself would be refused.
        let mut plain = target.clone();
        plain.login = None;
        let mut last = BenchError::Unreachable("no endpoint".into());
        for endpoint in &plain.endpoints {
            let timeout = target.dial_timeout;
            let asked = Client::connect(&plain, endpoint, timeout)
                .and_then(|mut client| client.authenticate(&self.name, &self.password));
            match asked {
                Err(error) if may_pass(&error) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// The same as [`Login::renew`] on a thread of its own; [`Login::since`] tells the outcome.
    pub fn begin_renewal(self: &Arc<Self>, target: &Target, seen: u64) {
        let (login, target) = (Arc::clone(self), target.clone());
        std::thread::spawn(move || login.renew(&target, seen));
    }
}
