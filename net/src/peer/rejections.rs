//! What the log says about connections that are not taken: every reason soon, but nobody fills the log with one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The same rejection is logged again after so long.
const REMINDER: Duration = Duration::from_secs(10);

/// Different rejections that are told apart; more within that time are left out.
const DIFFERENT: usize = 64;

/// The rejections of late.
#[derive(Debug, Default)]
pub(super) struct Rejections(RefCell<BTreeMap<String, Told>>);

#[derive(Debug)]
struct Told {
    since: Instant,
    /// How often the same has happened since.
    repeated: u64,
}

impl Rejections {
    /// Whether this is worth a line in the log; and then, how often the same was left out since the last one.
    pub(super) fn tell(&self, rejection: String) -> Option<u64> {
        self.tell_at(rejection, Instant::now())
    }

    fn tell_at(&self, rejection: String, now: Instant) -> Option<u64> {
        let mut told = self.0.borrow_mut();
        if let Some(last) = told.get_mut(&rejection) {
            if now.duration_since(last.since) < REMINDER {
                last.repeated += 1;
                return None;
            }
            last.since = now;
            return Some(std::mem::take(&mut last.repeated));
        }
        if told.len() >= DIFFERENT {
            told.retain(|_, last| now.duration_since(last.since) < REMINDER);
        }
        if told.len() >= DIFFERENT {
            return None;
        }
        let first = Told {
            since: now,
            repeated: 0,
        };
        told.insert(rejection, first);
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_now_and_then_and_many_different_things_are_bounded() {
        let rejections = Rejections::default();
        let begin = Instant::now();
        let at = |seconds, text: &str| {
            rejections.tell_at(text.to_owned(), begin + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, "a"), Some(0));
        assert_eq!(at(1, "a"), None);
        assert_eq!(at(2, "a"), None);
        assert_eq!(at(2, "b"), Some(0));
        assert_eq!(at(11, "a"), Some(2));
        let told = (0..1000).filter(|number| at(11, &number.to_string()).is_some());
        assert_eq!(told.count(), DIFFERENT - 2);
        assert_eq!(at(11, "c"), None);
        assert_eq!(at(30, "c"), Some(0));
        assert!(rejections.0.borrow().len() <= DIFFERENT);
    }
}
