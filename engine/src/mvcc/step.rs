//! Work in slices.

use crate::command::Refusal;

/// What a slice of work came to.
///
/// Besides, a slice may stop with [`Stop::NeedPages`](crate::pages::Stop::NeedPages): then the pages
/// are brought in and the same task is stepped again; it goes on where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// The work is done; the task is used up.
    Done(T),
    /// The answer is no; the task is used up and has changed nothing.
    Refused(Refusal),
    /// The budget is spent: step again when others have had their turn.
    Yield,
}

/// How much a slice may do. One unit is about one record visited or changed, which takes between
/// 50 nanoseconds and 2 microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u32,
}

impl Budget {
    /// A budget of so many units; at least one, so that every slice gets on.
    #[must_use]
    pub fn new(units: u32) -> Self {
        Self { left: units.max(1) }
    }

    /// A budget that is never spent.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { left: u32::MAX }
    }

    /// Takes one unit; false if none is left.
    #[inline]
    pub fn take(&mut self) -> bool {
        let left = self.left > 0;
        // An unlimited budget stays one.
        if self.left != u32::MAX {
            self.left = self.left.saturating_sub(1);
        }
        left
    }

    /// Takes so many units, or all that are left; false if none is left after it.
    pub(crate) fn take_all(&mut self, units: u32) -> bool {
        if self.left != u32::MAX {
            self.left = self.left.saturating_sub(units);
        }
        self.left > 0
    }

    /// The units that are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }
}
