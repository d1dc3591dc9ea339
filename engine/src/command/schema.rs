//! The tables of `command.fbs`: their fields, their verification, and typed access to what has
//! been verified.
//!
//! The shape of every table is stated once, in its [`Verifiable`] implementation. A [`Node`] is
//! only made by [`verified_root`] and by following a verified field, so that each accessor reads a
//! slot whose presence, type and bounds the verifier has checked.
#![allow(unsafe_code)]

use flatbuffers::{
    Follow, ForwardsUOffset, InvalidFlatbuffer, Table, VOffsetT, Vector, Verifiable, Verifier,
    VerifierOptions,
};

use super::MAX_TXN_DEPTH;

/// Stands at offset 4 of every command: format "RVC", version 1.
pub(super) const IDENTIFIER: &str = "RVC1";

/// The shortest buffer that can hold the root offset and the identifier.
const MIN_BYTES: usize = 8;

/// Command, one table for the operation and one for its body at each level, and some room.
const MAX_TABLE_DEPTH: usize = 2 * MAX_TXN_DEPTH + 8;

/// A table takes at least its own offset to the vtable and one offset that leads to it.
const MIN_BYTES_PER_TABLE: usize = 8;

/// The byte position of a field's entry in a vtable.
const fn slot(field: u16) -> VOffsetT {
    4 + 2 * field
}

type Bytes<'a> = ForwardsUOffset<Vector<'a, u8>>;
type Tables<'a, T> = ForwardsUOffset<Vector<'a, ForwardsUOffset<T>>>;
type Verdict = Result<(), InvalidFlatbuffer>;

/// Fields of `Put`.
pub(super) mod put {
    use super::{VOffsetT, slot};
    pub(in super::super) const KEY: VOffsetT = slot(0);
    pub(in super::super) const VALUE: VOffsetT = slot(1);
    pub(in super::super) const LEASE: VOffsetT = slot(2);
    pub(in super::super) const FLAGS: VOffsetT = slot(3);
    pub(in super::super) const PREV_KV: u8 = 1;
    pub(in super::super) const IGNORE_VALUE: u8 = 2;
    pub(in super::super) const IGNORE_LEASE: u8 = 4;
}

/// Fields of `DeleteRange`.
pub(super) mod delete_range {
    use super::{VOffsetT, slot};
    pub(in super::super) const KEY: VOffsetT = slot(0);
    pub(in super::super) const RANGE_END: VOffsetT = slot(1);
    pub(in super::super) const FLAGS: VOffsetT = slot(2);
    pub(in super::super) const PREV_KV: u8 = 1;
}

/// Fields of `Range`.
pub(super) mod range {
    use super::{VOffsetT, slot};
    pub(in super::super) const KEY: VOffsetT = slot(0);
    pub(in super::super) const RANGE_END: VOffsetT = slot(1);
    pub(in super::super) const LIMIT: VOffsetT = slot(2);
    pub(in super::super) const REVISION: VOffsetT = slot(3);
    pub(in super::super) const SORT_ORDER: VOffsetT = slot(4);
    pub(in super::super) const SORT_TARGET: VOffsetT = slot(5);
    pub(in super::super) const FLAGS: VOffsetT = slot(6);
    pub(in super::super) const MIN_MOD_REVISION: VOffsetT = slot(7);
    pub(in super::super) const MAX_MOD_REVISION: VOffsetT = slot(8);
    pub(in super::super) const MIN_CREATE_REVISION: VOffsetT = slot(9);
    pub(in super::super) const MAX_CREATE_REVISION: VOffsetT = slot(10);
    pub(in super::super) const KEYS_ONLY: u8 = 1;
    pub(in super::super) const COUNT_ONLY: u8 = 2;
    pub(in super::super) const SERIALIZABLE: u8 = 4;
}

/// Fields of `Compare`.
pub(super) mod compare {
    use super::{VOffsetT, slot};
    pub(in super::super) const KEY: VOffsetT = slot(0);
    pub(in super::super) const RANGE_END: VOffsetT = slot(1);
    pub(in super::super) const TARGET: VOffsetT = slot(2);
    pub(in super::super) const RELATION: VOffsetT = slot(3);
    pub(in super::super) const NUMBER: VOffsetT = slot(4);
    pub(in super::super) const VALUE: VOffsetT = slot(5);
    pub(in super::super) const UNKNOWN: u8 = 255;
}

/// Fields of `Operation`, and the members of its union.
pub(super) mod operation {
    use super::{VOffsetT, slot};
    pub(in super::super) const BODY_TYPE: VOffsetT = slot(0);
    pub(in super::super) const BODY: VOffsetT = slot(1);
    pub(in super::super) const RANGE: u8 = 1;
    pub(in super::super) const PUT: u8 = 2;
    pub(in super::super) const DELETE_RANGE: u8 = 3;
    pub(in super::super) const TXN: u8 = 4;
}

/// Fields of `Txn`.
pub(super) mod txn {
    use super::{VOffsetT, slot};
    pub(in super::super) const COMPARES: VOffsetT = slot(0);
    pub(in super::super) const SUCCESS: VOffsetT = slot(1);
    pub(in super::super) const FAILURE: VOffsetT = slot(2);
}

/// Fields of `Compact`.
pub(super) mod compact {
    use super::{VOffsetT, slot};
    pub(in super::super) const REVISION: VOffsetT = slot(0);
    pub(in super::super) const FLAGS: VOffsetT = slot(1);
    pub(in super::super) const PHYSICAL: u8 = 1;
}

/// Fields of `LeaseGrant`.
pub(super) mod lease_grant {
    use super::{VOffsetT, slot};
    pub(in super::super) const ID: VOffsetT = slot(0);
    pub(in super::super) const TTL: VOffsetT = slot(1);
}

/// Fields of `LeaseRevoke`.
pub(super) mod lease_revoke {
    use super::{VOffsetT, slot};
    pub(in super::super) const ID: VOffsetT = slot(0);
    pub(in super::super) const EXPIRED_IN_TERM: VOffsetT = slot(1);
}

/// Fields of `MemberAttributes`.
pub(super) mod member_attributes {
    use super::{VOffsetT, slot};
    pub(in super::super) const MEMBER: VOffsetT = slot(0);
    pub(in super::super) const NAME: VOffsetT = slot(1);
    pub(in super::super) const CLIENT_URLS: VOffsetT = slot(2);
    pub(in super::super) const FORMAT: VOffsetT = slot(3);
}

/// Fields of `ClusterVersion`.
pub(super) mod cluster_version {
    use super::{VOffsetT, slot};
    pub(in super::super) const VERSION: VOffsetT = slot(0);
    pub(in super::super) const FORMAT: VOffsetT = slot(1);
}

/// Fields of `Alarm`.
pub(super) mod alarm {
    use super::{VOffsetT, slot};
    pub(in super::super) const KIND: VOffsetT = slot(0);
    pub(in super::super) const MEMBER: VOffsetT = slot(1);
    pub(in super::super) const FLAGS: VOffsetT = slot(2);
    pub(in super::super) const ENDS: u8 = 1;
    pub(in super::super) const FOUND: u8 = 2;
}

/// Fields of `Command`, and the members of its union.
pub(super) mod command {
    use super::{VOffsetT, slot};
    pub(in super::super) const MUST_UNDERSTAND: VOffsetT = slot(0);
    pub(in super::super) const MEMBER: VOffsetT = slot(1);
    pub(in super::super) const SEQUENCE: VOffsetT = slot(2);
    pub(in super::super) const USER: VOffsetT = slot(3);
    pub(in super::super) const AUTH_REVISION: VOffsetT = slot(4);
    pub(in super::super) const BODY_TYPE: VOffsetT = slot(5);
    pub(in super::super) const BODY: VOffsetT = slot(6);
    pub(in super::super) const PUT: u8 = 1;
    pub(in super::super) const DELETE_RANGE: u8 = 2;
    pub(in super::super) const TXN: u8 = 3;
    pub(in super::super) const COMPACT: u8 = 4;
    pub(in super::super) const LEASE_GRANT: u8 = 5;
    pub(in super::super) const LEASE_REVOKE: u8 = 6;
    pub(in super::super) const MEMBER_ATTRIBUTES: u8 = 7;
    pub(in super::super) const CLUSTER_VERSION: u8 = 8;
    pub(in super::super) const ALARM: u8 = 9;
}

struct PutTable;
struct DeleteRangeTable;
struct RangeTable;
struct CompareTable;
struct OperationTable;
struct TxnTable;
struct CompactTable;
struct LeaseGrantTable;
struct LeaseRevokeTable;
struct MemberAttributesTable;
struct ClusterVersionTable;
struct AlarmTable;
struct CommandTable;

impl Verifiable for PutTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Bytes<'_>>("key", put::KEY, true)?
            .visit_field::<Bytes<'_>>("value", put::VALUE, false)?
            .visit_field::<i64>("lease", put::LEASE, false)?
            .visit_field::<u8>("flags", put::FLAGS, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for DeleteRangeTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Bytes<'_>>("key", delete_range::KEY, true)?
            .visit_field::<Bytes<'_>>("range_end", delete_range::RANGE_END, false)?
            .visit_field::<u8>("flags", delete_range::FLAGS, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for RangeTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Bytes<'_>>("key", range::KEY, true)?
            .visit_field::<Bytes<'_>>("range_end", range::RANGE_END, false)?
            .visit_field::<i64>("limit", range::LIMIT, false)?
            .visit_field::<i64>("revision", range::REVISION, false)?
            .visit_field::<u8>("sort_order", range::SORT_ORDER, false)?
            .visit_field::<u8>("sort_target", range::SORT_TARGET, false)?
            .visit_field::<u8>("flags", range::FLAGS, false)?
            .visit_field::<i64>("min_mod_revision", range::MIN_MOD_REVISION, false)?
            .visit_field::<i64>("max_mod_revision", range::MAX_MOD_REVISION, false)?
            .visit_field::<i64>("min_create_revision", range::MIN_CREATE_REVISION, false)?
            .visit_field::<i64>("max_create_revision", range::MAX_CREATE_REVISION, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for CompareTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Bytes<'_>>("key", compare::KEY, true)?
            .visit_field::<Bytes<'_>>("range_end", compare::RANGE_END, false)?
            .visit_field::<u8>("target", compare::TARGET, false)?
            .visit_field::<u8>("relation", compare::RELATION, false)?
            .visit_field::<i64>("number", compare::NUMBER, false)?
            .visit_field::<Bytes<'_>>("value", compare::VALUE, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for OperationTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_union::<u8, _>(
                "body_type",
                operation::BODY_TYPE,
                "body",
                operation::BODY,
                false,
                verify_operation_body,
            )?
            .finish();
        Ok(())
    }
}

/// A member that is not known here is not looked into; reading it is an error later.
fn verify_operation_body(member: u8, v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
    match member {
        operation::RANGE => v.verify_union_variant::<ForwardsUOffset<RangeTable>>("Range", pos),
        operation::PUT => v.verify_union_variant::<ForwardsUOffset<PutTable>>("Put", pos),
        operation::DELETE_RANGE => {
            v.verify_union_variant::<ForwardsUOffset<DeleteRangeTable>>("DeleteRange", pos)
        }
        operation::TXN => v.verify_union_variant::<ForwardsUOffset<TxnTable>>("Txn", pos),
        _ => Ok(()),
    }
}

impl Verifiable for TxnTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Tables<'_, CompareTable>>("compares", txn::COMPARES, false)?
            .visit_field::<Tables<'_, OperationTable>>("success", txn::SUCCESS, false)?
            .visit_field::<Tables<'_, OperationTable>>("failure", txn::FAILURE, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for CompactTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<i64>("revision", compact::REVISION, false)?
            .visit_field::<u8>("flags", compact::FLAGS, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for LeaseGrantTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<i64>("id", lease_grant::ID, false)?
            .visit_field::<i64>("ttl", lease_grant::TTL, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for LeaseRevokeTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<i64>("id", lease_revoke::ID, false)?
            .visit_field::<u64>("expired_in_term", lease_revoke::EXPIRED_IN_TERM, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for MemberAttributesTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<u64>("member", member_attributes::MEMBER, false)?
            .visit_field::<Bytes<'_>>("name", member_attributes::NAME, false)?
            .visit_field::<Bytes<'_>>("client_urls", member_attributes::CLIENT_URLS, false)?
            .visit_field::<u64>("format", member_attributes::FORMAT, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for ClusterVersionTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<Bytes<'_>>("version", cluster_version::VERSION, false)?
            .visit_field::<u64>("format", cluster_version::FORMAT, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for AlarmTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<i64>("kind", alarm::KIND, false)?
            .visit_field::<u64>("member", alarm::MEMBER, false)?
            .visit_field::<u8>("flags", alarm::FLAGS, false)?
            .finish();
        Ok(())
    }
}

impl Verifiable for CommandTable {
    fn run_verifier(v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
        v.visit_table(pos)?
            .visit_field::<u64>("must_understand", command::MUST_UNDERSTAND, false)?
            .visit_field::<u64>("member", command::MEMBER, false)?
            .visit_field::<u64>("sequence", command::SEQUENCE, false)?
            .visit_field::<Bytes<'_>>("user", command::USER, false)?
            .visit_field::<u64>("auth_revision", command::AUTH_REVISION, false)?
            .visit_union::<u8, _>(
                "body_type",
                command::BODY_TYPE,
                "body",
                command::BODY,
                true,
                verify_command_body,
            )?
            .finish();
        Ok(())
    }
}

/// A member that is not known here is not looked into; reading it is an error later.
fn verify_command_body(member: u8, v: &mut Verifier<'_, '_>, pos: usize) -> Verdict {
    match member {
        command::PUT => v.verify_union_variant::<ForwardsUOffset<PutTable>>("Put", pos),
        command::DELETE_RANGE => {
            v.verify_union_variant::<ForwardsUOffset<DeleteRangeTable>>("DeleteRange", pos)
        }
        command::TXN => v.verify_union_variant::<ForwardsUOffset<TxnTable>>("Txn", pos),
        command::COMPACT => v.verify_union_variant::<ForwardsUOffset<CompactTable>>("Compact", pos),
        command::LEASE_GRANT => {
            v.verify_union_variant::<ForwardsUOffset<LeaseGrantTable>>("LeaseGrant", pos)
        }
        command::LEASE_REVOKE => {
            v.verify_union_variant::<ForwardsUOffset<LeaseRevokeTable>>("LeaseRevoke", pos)
        }
        command::MEMBER_ATTRIBUTES => v
            .verify_union_variant::<ForwardsUOffset<MemberAttributesTable>>(
                "MemberAttributes",
                pos,
            ),
        command::CLUSTER_VERSION => {
            v.verify_union_variant::<ForwardsUOffset<ClusterVersionTable>>("ClusterVersion", pos)
        }
        command::ALARM => v.verify_union_variant::<ForwardsUOffset<AlarmTable>>("Alarm", pos),
        _ => Ok(()),
    }
}

/// A table that the verifier has been through, fields and all.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(Table<'a>);

impl<'a> Follow<'a> for Node<'a> {
    type Inner = Node<'a>;

    unsafe fn follow(buffer: &'a [u8], position: usize) -> Self::Inner {
        // SAFETY: the caller promises that a valid table lies at `position`.
        Node(unsafe { Table::new(buffer, position) })
    }
}

/// Verifies the buffer as a command and gives its root table; `None` if the buffer does not begin
/// as a command of this format.
pub(super) fn verified_root(buffer: &[u8]) -> Result<Option<Node<'_>>, InvalidFlatbuffer> {
    if buffer.len() < MIN_BYTES || !flatbuffers::buffer_has_identifier(buffer, IDENTIFIER, false) {
        return Ok(None);
    }
    let options = VerifierOptions {
        max_depth: MAX_TABLE_DEPTH,
        max_tables: buffer.len() / MIN_BYTES_PER_TABLE,
        ..VerifierOptions::default()
    };
    let mut verifier = Verifier::new(&options, buffer);
    <ForwardsUOffset<CommandTable>>::run_verifier(&mut verifier, 0)?;
    // SAFETY: the verifier has followed the root offset to a valid command table.
    Ok(Some(unsafe {
        <ForwardsUOffset<Node<'_>>>::follow(buffer, 0)
    }))
}

// Each accessor below must be called with a slot of the table that the node is, and for the type
// that this table's `Verifiable` implementation names for it. The slots are used in `parse.rs`
// alone, in one function per table.
impl<'a> Node<'a> {
    /// A field of one byte; 0 if absent.
    pub(super) fn byte(self, slot: VOffsetT) -> u8 {
        // SAFETY: the verifier has checked this slot as u8.
        unsafe { self.0.get::<u8>(slot, None) }.unwrap_or(0)
    }

    /// A signed number; 0 if absent.
    pub(super) fn signed(self, slot: VOffsetT) -> i64 {
        // SAFETY: the verifier has checked this slot as i64.
        unsafe { self.0.get::<i64>(slot, None) }.unwrap_or(0)
    }

    /// An unsigned number; 0 if absent.
    pub(super) fn unsigned(self, slot: VOffsetT) -> u64 {
        // SAFETY: the verifier has checked this slot as u64.
        unsafe { self.0.get::<u64>(slot, None) }.unwrap_or(0)
    }

    /// A byte string; empty if absent.
    pub(super) fn bytes(self, slot: VOffsetT) -> &'a [u8] {
        // SAFETY: the verifier has checked this slot as a vector of bytes.
        unsafe { self.0.get::<Bytes<'a>>(slot, None) }.map_or(&[], |vector| vector.bytes())
    }

    /// The table that an offset or a union of known member leads to.
    pub(super) fn node(self, slot: VOffsetT) -> Option<Node<'a>> {
        // SAFETY: the verifier has checked this slot as an offset to a table.
        unsafe { self.0.get::<ForwardsUOffset<Node<'a>>>(slot, None) }
    }

    /// The tables of a vector; none if absent.
    pub(super) fn nodes(self, slot: VOffsetT) -> impl ExactSizeIterator<Item = Node<'a>> {
        type Nodes<'a> = ForwardsUOffset<Vector<'a, ForwardsUOffset<Node<'a>>>>;
        // SAFETY: the verifier has checked this slot as a vector of offsets to tables.
        let vector = unsafe { self.0.get::<Nodes<'a>>(slot, None) };
        vector.unwrap_or_default().into_iter()
    }
}
