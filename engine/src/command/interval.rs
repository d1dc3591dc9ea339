//! Intervals of keys, with etcd's way of writing their end.

/// The keys that a request covers. Bytewise order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval<'a> {
    /// One key.
    Key(&'a [u8]),
    /// From the first (included) to the second (excluded). Empty if the second is not greater.
    Range(&'a [u8], &'a [u8]),
    /// From this key (included) on.
    From(&'a [u8]),
}

impl<'a> Interval<'a> {
    /// Reads `key` and `range_end` as etcd's interface defines them: an empty `range_end` means the
    /// single key, `"\0"` means everything from `key` on.
    #[must_use]
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::Key(key),
            [0] => Self::From(key),
            end => Self::Range(key, end),
        }
    }

    /// The smallest key that the interval may hold.
    #[must_use]
    pub fn start(&self) -> &'a [u8] {
        match *self {
            Self::Key(key) | Self::Range(key, _) | Self::From(key) => key,
        }
    }

    /// Whether the key lies in the interval.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match *self {
            Self::Key(only) => key == only,
            Self::Range(from, to) => from <= key && key < to,
            Self::From(from) => from <= key,
        }
    }

    /// Whether the key lies beyond the interval's end: so does every greater key.
    #[must_use]
    pub fn is_beyond(&self, key: &[u8]) -> bool {
        match *self {
            Self::Key(only) => key > only,
            Self::Range(_, to) => key >= to,
            Self::From(_) => false,
        }
    }

    /// Whether no key at all can lie in the interval.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(*self, Self::Range(from, to) if from >= to)
    }
}
