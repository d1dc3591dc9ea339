//! Writing a command.

use bytes::Bytes;
use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, TableFinishedWIPOffset, UnionWIPOffset, Vector, WIPOffset,
};

use super::schema::{
    IDENTIFIER, alarm, cluster_version, command, compact, compare, delete_range, lease_grant,
    lease_revoke, member_attributes, operation, put, range, txn,
};
use super::{
    AlarmChange, Body, ClusterVersion, CommandError, Compact, Compare, CompareTarget, DeleteRange,
    Header, LeaseGrant, LeaseRevoke, MAX_TXN_DEPTH, MemberAttributes, Operation, Put, RangeRequest,
    Relation, SortOrder, SortTarget, Txn,
};
use crate::alarms::AlarmCause;

/// The buffer that an encoder keeps between commands.
const KEPT_BYTES: usize = 4 << 10;

/// A command at least this long is handed out in the buffer it was built in, because copying it
/// would cost more than a new buffer.
const HAND_OUT_BYTES: usize = 16 << 10;

/// What a command takes besides its keys and values, at most, unless it is a transaction.
const FRAME_BYTES: usize = 192;

type Table = WIPOffset<TableFinishedWIPOffset>;
type Tables = WIPOffset<Vector<'static, ForwardsUOffset<TableFinishedWIPOffset>>>;

/// Encodes commands, one after the other, with a buffer that it keeps: each command costs one
/// allocation, its own. Every reactor has one.
pub struct Encoder {
    builder: FlatBufferBuilder<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with its buffer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            builder: FlatBufferBuilder::with_capacity(KEPT_BYTES),
        }
    }

    /// Encodes one command.
    ///
    /// # Errors
    /// [`CommandError::TooDeep`] if transactions are nested too deep; nothing else.
    pub fn encode(&mut self, header: &Header<'_>, body: &Body<'_>) -> Result<Bytes, CommandError> {
        self.make_room(body);
        let (member, body) = match self.write_body(body) {
            Ok(written) => written,
            Err(error) => {
                self.builder.reset();
                return Err(error);
            }
        };
        Ok(self.finish(header, member, body))
    }

    /// A large value gets a buffer of its size at once, instead of one that doubles its way up.
    fn make_room(&mut self, body: &Body<'_>) {
        if let Body::Put(put) = body {
            let length = put.key.len() + put.value.len() + FRAME_BYTES;
            if length >= HAND_OUT_BYTES {
                self.builder = FlatBufferBuilder::with_capacity(length);
            }
        }
    }

    fn finish(&mut self, header: &Header<'_>, member: u8, body: Table) -> Bytes {
        let builder = &mut self.builder;
        let user = (!header.user.is_empty()).then(|| builder.create_byte_string(header.user));
        let start = builder.start_table();
        builder.push_slot(command::MEMBER, header.request.member, 0);
        builder.push_slot(command::SEQUENCE, header.request.sequence, 0);
        builder.push_slot(command::AUTH_REVISION, header.auth_revision, 0);
        if let Some(user) = user {
            builder.push_slot_always(command::USER, user);
        }
        builder.push_slot_always(command::BODY, body);
        builder.push_slot_always(command::BODY_TYPE, member);
        let root = builder.end_table(start);
        builder.finish(root, Some(IDENTIFIER));
        self.take()
    }

    /// The finished bytes; the encoder is ready for the next command.
    fn take(&mut self) -> Bytes {
        let finished = self.builder.finished_data();
        if finished.len() < HAND_OUT_BYTES {
            let bytes = Bytes::copy_from_slice(finished);
            self.builder.reset();
            return bytes;
        }
        let fresh = FlatBufferBuilder::with_capacity(KEPT_BYTES);
        let (buffer, start) = std::mem::replace(&mut self.builder, fresh).collapse();
        Bytes::from(buffer).slice(start..)
    }

    fn write_body(&mut self, body: &Body<'_>) -> Result<(u8, Table), CommandError> {
        Ok(match body {
            Body::Put(body) => (command::PUT, self.write_put(body)),
            Body::DeleteRange(body) => (command::DELETE_RANGE, self.write_delete_range(body)),
            Body::Txn(body) => (command::TXN, self.write_txn(body, 1)?),
            Body::Compact(body) => (command::COMPACT, self.write_compact(body)),
            Body::LeaseGrant(body) => (command::LEASE_GRANT, self.write_lease_grant(body)),
            Body::LeaseRevoke(body) => (command::LEASE_REVOKE, self.write_lease_revoke(body)),
            Body::MemberAttributes(body) => {
                (command::MEMBER_ATTRIBUTES, self.write_attributes(body))
            }
            Body::ClusterVersion(body) => {
                (command::CLUSTER_VERSION, self.write_cluster_version(body))
            }
            Body::Alarm(body) => (command::ALARM, self.write_alarm(body)),
        })
    }

    /// Absent if empty, which reads back as empty.
    fn write_optional_bytes(&mut self, bytes: &[u8]) -> Option<WIPOffset<&'static [u8]>> {
        // A byte string is a vector of bytes with one more zero behind it; unlike a vector it is
        // copied in one piece.
        (!bytes.is_empty()).then(|| self.builder.create_byte_string(bytes))
    }

    fn write_put(&mut self, body: &Put<'_>) -> Table {
        let value = self.write_optional_bytes(body.value);
        let key = self.builder.create_byte_string(body.key);
        let flags = flag(body.prev_kv, put::PREV_KV)
            | flag(body.ignore_value, put::IGNORE_VALUE)
            | flag(body.ignore_lease, put::IGNORE_LEASE);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(put::LEASE, body.lease, 0);
        if let Some(value) = value {
            builder.push_slot_always(put::VALUE, value);
        }
        builder.push_slot_always(put::KEY, key);
        builder.push_slot(put::FLAGS, flags, 0);
        builder.end_table(start)
    }

    fn write_delete_range(&mut self, body: &DeleteRange<'_>) -> Table {
        let range_end = self.write_optional_bytes(body.range_end);
        let key = self.builder.create_byte_string(body.key);
        let builder = &mut self.builder;
        let start = builder.start_table();
        if let Some(range_end) = range_end {
            builder.push_slot_always(delete_range::RANGE_END, range_end);
        }
        builder.push_slot_always(delete_range::KEY, key);
        let flags = flag(body.prev_kv, delete_range::PREV_KV);
        builder.push_slot(delete_range::FLAGS, flags, 0);
        builder.end_table(start)
    }

    fn write_range(&mut self, body: &RangeRequest<'_>) -> Table {
        let range_end = self.write_optional_bytes(body.range_end);
        let key = self.builder.create_byte_string(body.key);
        let flags = flag(body.keys_only, range::KEYS_ONLY)
            | flag(body.count_only, range::COUNT_ONLY)
            | flag(body.serializable, range::SERIALIZABLE);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(range::LIMIT, body.limit, 0);
        builder.push_slot(range::REVISION, body.revision, 0);
        builder.push_slot(range::MIN_MOD_REVISION, body.min_mod_revision, 0);
        builder.push_slot(range::MAX_MOD_REVISION, body.max_mod_revision, 0);
        builder.push_slot(range::MIN_CREATE_REVISION, body.min_create_revision, 0);
        builder.push_slot(range::MAX_CREATE_REVISION, body.max_create_revision, 0);
        if let Some(range_end) = range_end {
            builder.push_slot_always(range::RANGE_END, range_end);
        }
        builder.push_slot_always(range::KEY, key);
        builder.push_slot(range::SORT_ORDER, order_number(body.sort_order), 0);
        builder.push_slot(range::SORT_TARGET, target_number(body.sort_target), 0);
        builder.push_slot(range::FLAGS, flags, 0);
        builder.end_table(start)
    }

    fn write_compare(&mut self, body: &Compare<'_>) -> Table {
        let (target, number, value): (u8, i64, &[u8]) = match body.target {
            CompareTarget::Version(number) => (0, number, &[]),
            CompareTarget::Create(number) => (1, number, &[]),
            CompareTarget::Mod(number) => (2, number, &[]),
            CompareTarget::Value(value) => (3, 0, value),
            CompareTarget::Lease(number) => (4, number, &[]),
            CompareTarget::Unknown => (compare::UNKNOWN, 0, &[]),
        };
        let relation = match body.relation {
            Relation::Equal => 0,
            Relation::Greater => 1,
            Relation::Less => 2,
            Relation::NotEqual => 3,
            Relation::Unknown => compare::UNKNOWN,
        };
        let value = self.write_optional_bytes(value);
        let range_end = self.write_optional_bytes(body.range_end);
        let key = self.builder.create_byte_string(body.key);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(compare::NUMBER, number, 0);
        if let Some(value) = value {
            builder.push_slot_always(compare::VALUE, value);
        }
        if let Some(range_end) = range_end {
            builder.push_slot_always(compare::RANGE_END, range_end);
        }
        builder.push_slot_always(compare::KEY, key);
        builder.push_slot(compare::TARGET, target, 0);
        builder.push_slot(compare::RELATION, relation, 0);
        builder.end_table(start)
    }

    fn write_txn(&mut self, body: &Txn<'_>, depth: usize) -> Result<Table, CommandError> {
        if depth > MAX_TXN_DEPTH {
            return Err(CommandError::TooDeep);
        }
        let failure = self.write_operations(&body.failure, depth)?;
        let success = self.write_operations(&body.success, depth)?;
        let mut compares = Vec::with_capacity(body.compares.len());
        for compare in &body.compares {
            compares.push(self.write_compare(compare));
        }
        let compares = self.write_tables(&compares);
        let builder = &mut self.builder;
        let start = builder.start_table();
        for (slot, tables) in [
            (txn::FAILURE, failure),
            (txn::SUCCESS, success),
            (txn::COMPARES, compares),
        ] {
            if let Some(tables) = tables {
                builder.push_slot_always(slot, tables);
            }
        }
        Ok(builder.end_table(start))
    }

    fn write_operations(
        &mut self,
        operations: &[Operation<'_>],
        depth: usize,
    ) -> Result<Option<Tables>, CommandError> {
        let mut tables = Vec::with_capacity(operations.len());
        for operation in operations {
            tables.push(self.write_operation(operation, depth)?);
        }
        Ok(self.write_tables(&tables))
    }

    fn write_tables(&mut self, tables: &[Table]) -> Option<Tables> {
        (!tables.is_empty()).then(|| self.builder.create_vector(tables))
    }

    fn write_operation(
        &mut self,
        operation: &Operation<'_>,
        depth: usize,
    ) -> Result<Table, CommandError> {
        let (member, body) = match operation {
            Operation::Range(body) => (operation::RANGE, Some(self.write_range(body))),
            Operation::Put(body) => (operation::PUT, Some(self.write_put(body))),
            Operation::DeleteRange(body) => {
                (operation::DELETE_RANGE, Some(self.write_delete_range(body)))
            }
            Operation::Txn(body) => (operation::TXN, Some(self.write_txn(body, depth + 1)?)),
            Operation::Unset => (0, None),
        };
        let body: Option<WIPOffset<UnionWIPOffset>> = body.map(|table| table.as_union_value());
        let builder = &mut self.builder;
        let start = builder.start_table();
        if let Some(body) = body {
            builder.push_slot_always(operation::BODY, body);
            builder.push_slot_always(operation::BODY_TYPE, member);
        }
        Ok(builder.end_table(start))
    }

    fn write_compact(&mut self, body: &Compact) -> Table {
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(compact::REVISION, body.revision, 0);
        let flags = flag(body.physical, compact::PHYSICAL);
        builder.push_slot(compact::FLAGS, flags, 0);
        builder.end_table(start)
    }

    fn write_lease_grant(&mut self, body: &LeaseGrant) -> Table {
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(lease_grant::ID, body.id, 0);
        builder.push_slot(lease_grant::TTL, body.ttl, 0);
        builder.end_table(start)
    }

    fn write_lease_revoke(&mut self, body: &LeaseRevoke) -> Table {
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(lease_revoke::ID, body.id, 0);
        builder.push_slot(lease_revoke::EXPIRED_IN_TERM, body.expired_in_term, 0);
        builder.end_table(start)
    }

    fn write_attributes(&mut self, body: &MemberAttributes<'_>) -> Table {
        let client_urls = self.write_optional_bytes(body.client_urls);
        let name = self.write_optional_bytes(body.name);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(member_attributes::MEMBER, body.member, 0);
        builder.push_slot(member_attributes::FORMAT, body.format, 0);
        for (slot, bytes) in [
            (member_attributes::CLIENT_URLS, client_urls),
            (member_attributes::NAME, name),
        ] {
            if let Some(bytes) = bytes {
                builder.push_slot_always(slot, bytes);
            }
        }
        builder.end_table(start)
    }

    fn write_cluster_version(&mut self, body: &ClusterVersion<'_>) -> Table {
        let version = self.write_optional_bytes(body.version);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(cluster_version::FORMAT, body.format, 0);
        if let Some(version) = version {
            builder.push_slot_always(cluster_version::VERSION, version);
        }
        builder.end_table(start)
    }

    fn write_alarm(&mut self, body: &AlarmChange) -> Table {
        let flags =
            flag(body.ends, alarm::ENDS) | flag(body.cause == AlarmCause::Comparison, alarm::FOUND);
        let builder = &mut self.builder;
        let start = builder.start_table();
        builder.push_slot(alarm::KIND, body.alarm.kind, 0);
        builder.push_slot(alarm::MEMBER, body.alarm.member, 0);
        builder.push_slot(alarm::FLAGS, flags, 0);
        builder.end_table(start)
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// An order that etcd does not define is refused by the checks; encoded, it counts as none.
fn order_number(order: SortOrder) -> u8 {
    match order {
        SortOrder::None | SortOrder::Unknown => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    }
}

/// A target that etcd does not define is refused by the checks; encoded, it counts as the key.
fn target_number(target: SortTarget) -> u8 {
    match target {
        SortTarget::Key | SortTarget::Unknown => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    }
}
