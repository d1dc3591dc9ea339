//! What members have said, kept to be said again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept of one connection.
const MOST_BYTES: usize = 1 << 20;

/// The bytes of one connection in the direction of its dialler.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    pub fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_BYTES - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn bytes(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// All tapes, each with the member that was dialled.
#[derive(Clone, Default)]
pub struct Recorder {
    runs: Arc<AtomicBool>,
    tapes: Arc<Mutex<Vec<(usize, Tape)>>>,
}

impl Recorder {
    /// From now on new connections are recorded.
    pub fn start(&self) {
        self.runs.store(true, Ordering::Relaxed);
    }

    /// A tape for a connection to a member, if recording is on.
    pub fn tape(&self, to: usize) -> Option<Tape> {
        self.runs.load(Ordering::Relaxed).then(|| {
            let tape = Tape::default();
            let tapes = self.tapes.lock();
            tapes
                .unwrap_or_else(PoisonError::into_inner)
                .push((to, tape.clone()));
            tape
        })
    }

    /// What was recorded so far: the member that was dialled, and what it was told.
    pub fn recorded(&self) -> Vec<(usize, Vec<u8>)> {
        let tapes = self.tapes.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = tapes.iter().map(|(to, tape)| (*to, tape.bytes()));
        recorded.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }
}
