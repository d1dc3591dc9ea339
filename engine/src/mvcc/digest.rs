//! A running digest of what applying the log has done.
//!
//! Every applied entry is mixed in, with the changes that it made and what it came to. Members that have applied the same
//! entries have the same digest, at the cost of a few nanoseconds per change; a member whose state has come to differ in
//! anything that later changes build on has another one from then on, for ever. Pages that rot are not its business: their
//! checksums see to that.
//!
//! What is mixed in must never change between releases that form one cluster, nor depend on one member alone.

use super::Applied;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The digest at one entry. Two of them can be compared if they begin at the same entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// The last entry that is not part of it: 0, unless the store was made by an early release, which kept none.
    pub since: u64,
    /// Its value.
    pub value: u64,
}

/// Something to be mixed into a digest, piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mixer(u64);

impl Mixer {
    /// Goes on from a value.
    pub(crate) fn new(value: u64) -> Self {
        Mixer(value)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    pub(crate) fn numbers<const N: usize>(&mut self, numbers: [i64; N]) {
        self.bytes(numbers.map(i64::to_le_bytes).as_flattened());
    }

    /// What a command came to beside its changes of keys.
    pub(crate) fn outcome(&mut self, applied: &Applied) {
        match applied {
            Applied::LeaseGranted { id, ttl, .. } => self.numbers([*id, *ttl]),
            Applied::LeaseRevoked { id, .. } => self.numbers([*id, -1]),
            Applied::MemberAttributes(record) => {
                self.numbers([record.id.cast_signed()]);
                self.bytes(&record.to_bytes());
            }
            Applied::ClusterVersion(version) => {
                self.numbers([version.format.cast_signed()]);
                self.bytes(version.text.as_bytes());
            }
            Applied::AlarmRaised(alarm) => {
                self.numbers([alarm.kind, alarm.member.cast_signed(), 1]);
            }
            Applied::AlarmEnded(Some(alarm)) => {
                self.numbers([alarm.kind, alarm.member.cast_signed(), -1]);
            }
            // Keys, revision and compaction say it all.
            Applied::AlarmEnded(None)
            | Applied::Put { .. }
            | Applied::DeleteRange { .. }
            | Applied::Txn { .. }
            | Applied::Compacted { .. }
            | Applied::MembersChanged => {}
        }
    }

    /// What has been mixed together.
    pub(crate) fn value(self) -> u64 {
        self.0
    }

    /// The same, to begin anew.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_boundaries_count() {
        let mixed = |pieces: &[&[u8]]| {
            let mut mixer = Mixer::new(7);
            pieces.iter().for_each(|piece| mixer.bytes(piece));
            mixer.value()
        };
        assert_eq!(mixed(&[b"a", b"b"]), mixed(&[b"a", b"b"]));
        assert_ne!(mixed(&[b"a", b"b"]), mixed(&[b"b", b"a"]));
        assert_ne!(mixed(&[b"ab"]), mixed(&[b"a", b"b"]));
        assert_ne!(mixed(&[b"a", b""]), mixed(&[b"a"]));
    }

    #[test]
    fn the_form_is_for_ever() {
        // Members of different releases compare it.
        let mut mixer = Mixer::new(1);
        mixer.numbers([1, -1]);
        mixer.bytes(b"key");
        let mut numbers = 1_i64.to_le_bytes().to_vec();
        numbers.extend_from_slice(&(-1_i64).to_le_bytes());
        let expected = xxh3_64_with_seed(b"key", xxh3_64_with_seed(&numbers, 1));
        assert_eq!(mixer.value(), expected);
    }
}
