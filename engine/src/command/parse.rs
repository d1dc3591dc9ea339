//! Reading a command back.

use flatbuffers::InvalidFlatbuffer;

use super::schema::{
    self, Node, alarm, cluster_version, command, compact, compare, delete_range, lease_grant,
    lease_revoke, member_attributes, operation, put, range, txn,
};
use super::{
    AlarmChange, Body, ClusterVersion, Command, Compact, Compare, CompareTarget, DeleteRange,
    Header, LeaseGrant, LeaseRevoke, MAX_TXN_DEPTH, MemberAttributes, Operation, Put, RangeRequest,
    Relation, RequestId, SortOrder, SortTarget, Txn,
};
use crate::alarms::{Alarm, AlarmCause};

/// The must-understand bits that this version understands: none is given out yet.
const UNDERSTOOD: u64 = 0;

/// Why bytes are not a command that this version can carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The bytes do not begin as a command of this format.
    #[error(
        "not a command: {length} bytes without the mark {:?}",
        schema::IDENTIFIER
    )]
    NotACommand {
        /// How many bytes there are.
        length: usize,
    },
    /// The bytes are damaged.
    #[error("malformed command: {0}")]
    Malformed(#[from] InvalidFlatbuffer),
    /// A later version wrote something that must not be overlooked.
    #[error("command of a later version: must-understand bits {bits:#x}")]
    MustUnderstand {
        /// The bits that are not understood.
        bits: u64,
    },
    /// A later version wrote a kind, an enumeration value or a flag that is not known here.
    #[error("command of a later version: {field} is {value}")]
    Unknown {
        /// The field of the schema.
        field: &'static str,
        /// What stands in it.
        value: u8,
    },
    /// Transactions lie in transactions more than [`MAX_TXN_DEPTH`] deep.
    #[error("transactions nested more than {MAX_TXN_DEPTH} deep")]
    TooDeep,
}

impl<'a> Command<'a> {
    /// Verifies the bytes and reads them.
    ///
    /// # Errors
    /// Every kind of [`CommandError`]; damage, or a later version's work. Never panics.
    pub fn parse(buffer: &'a [u8]) -> Result<Self, CommandError> {
        let Some(root) = schema::verified_root(buffer)? else {
            return Err(CommandError::NotACommand {
                length: buffer.len(),
            });
        };
        let bits = root.unsigned(command::MUST_UNDERSTAND) & !UNDERSTOOD;
        if bits != 0 {
            return Err(CommandError::MustUnderstand { bits });
        }
        let header = Header {
            request: RequestId {
                member: root.unsigned(command::MEMBER),
                sequence: root.unsigned(command::SEQUENCE),
            },
            user: root.bytes(command::USER),
            auth_revision: root.unsigned(command::AUTH_REVISION),
        };
        let body = read_body(root)?;
        Ok(Self { header, body })
    }
}

fn read_body(root: Node<'_>) -> Result<Body<'_>, CommandError> {
    let member = root.byte(command::BODY_TYPE);
    let unknown = CommandError::Unknown {
        field: "Command.body",
        value: member,
    };
    if !(command::PUT..=command::ALARM).contains(&member) {
        return Err(unknown);
    }
    let node = root.node(command::BODY).ok_or(unknown)?;
    Ok(match member {
        command::PUT => Body::Put(read_put(node)?),
        command::DELETE_RANGE => Body::DeleteRange(read_delete_range(node)?),
        command::TXN => Body::Txn(read_txn(node, 1)?),
        command::COMPACT => Body::Compact(read_compact(node)?),
        command::LEASE_GRANT => Body::LeaseGrant(LeaseGrant {
            id: node.signed(lease_grant::ID),
            ttl: node.signed(lease_grant::TTL),
        }),
        command::LEASE_REVOKE => Body::LeaseRevoke(LeaseRevoke {
            id: node.signed(lease_revoke::ID),
            expired_in_term: node.unsigned(lease_revoke::EXPIRED_IN_TERM),
        }),
        command::MEMBER_ATTRIBUTES => Body::MemberAttributes(MemberAttributes {
            member: node.unsigned(member_attributes::MEMBER),
            name: node.bytes(member_attributes::NAME),
            client_urls: node.bytes(member_attributes::CLIENT_URLS),
            format: node.unsigned(member_attributes::FORMAT),
        }),
        command::CLUSTER_VERSION => Body::ClusterVersion(ClusterVersion {
            version: node.bytes(cluster_version::VERSION),
            format: node.unsigned(cluster_version::FORMAT),
        }),
        _ => Body::Alarm(read_alarm(node)?),
    })
}

fn read_alarm(node: Node<'_>) -> Result<AlarmChange, CommandError> {
    let known = alarm::ENDS | alarm::FOUND;
    let flags = known_flags("Alarm.flags", node.byte(alarm::FLAGS), known)?;
    Ok(AlarmChange {
        alarm: Alarm {
            kind: node.signed(alarm::KIND),
            member: node.unsigned(alarm::MEMBER),
        },
        cause: match flags & alarm::FOUND {
            0 => AlarmCause::Request,
            _ => AlarmCause::Comparison,
        },
        ends: flags & alarm::ENDS != 0,
    })
}

/// Refuses flags that this version does not know.
fn known_flags(field: &'static str, value: u8, known: u8) -> Result<u8, CommandError> {
    if value & !known != 0 {
        return Err(CommandError::Unknown { field, value });
    }
    Ok(value)
}

fn read_put(node: Node<'_>) -> Result<Put<'_>, CommandError> {
    let known = put::PREV_KV | put::IGNORE_VALUE | put::IGNORE_LEASE;
    let flags = known_flags("Put.flags", node.byte(put::FLAGS), known)?;
    Ok(Put {
        key: node.bytes(put::KEY),
        value: node.bytes(put::VALUE),
        lease: node.signed(put::LEASE),
        prev_kv: flags & put::PREV_KV != 0,
        ignore_value: flags & put::IGNORE_VALUE != 0,
        ignore_lease: flags & put::IGNORE_LEASE != 0,
    })
}

fn read_delete_range(node: Node<'_>) -> Result<DeleteRange<'_>, CommandError> {
    let flags = node.byte(delete_range::FLAGS);
    let flags = known_flags("DeleteRange.flags", flags, delete_range::PREV_KV)?;
    Ok(DeleteRange {
        key: node.bytes(delete_range::KEY),
        range_end: node.bytes(delete_range::RANGE_END),
        prev_kv: flags & delete_range::PREV_KV != 0,
    })
}

fn read_range(node: Node<'_>) -> Result<RangeRequest<'_>, CommandError> {
    let known = range::KEYS_ONLY | range::COUNT_ONLY | range::SERIALIZABLE;
    let flags = known_flags("Range.flags", node.byte(range::FLAGS), known)?;
    let order = node.byte(range::SORT_ORDER);
    let target = node.byte(range::SORT_TARGET);
    Ok(RangeRequest {
        key: node.bytes(range::KEY),
        range_end: node.bytes(range::RANGE_END),
        limit: node.signed(range::LIMIT),
        revision: node.signed(range::REVISION),
        sort_order: match SortOrder::from_number(i32::from(order)) {
            SortOrder::Unknown => return Err(unknown("Range.sort_order", order)),
            known => known,
        },
        sort_target: match SortTarget::from_number(i32::from(target)) {
            SortTarget::Unknown => return Err(unknown("Range.sort_target", target)),
            known => known,
        },
        serializable: flags & range::SERIALIZABLE != 0,
        keys_only: flags & range::KEYS_ONLY != 0,
        count_only: flags & range::COUNT_ONLY != 0,
        min_mod_revision: node.signed(range::MIN_MOD_REVISION),
        max_mod_revision: node.signed(range::MAX_MOD_REVISION),
        min_create_revision: node.signed(range::MIN_CREATE_REVISION),
        max_create_revision: node.signed(range::MAX_CREATE_REVISION),
    })
}

fn unknown(field: &'static str, value: u8) -> CommandError {
    CommandError::Unknown { field, value }
}

fn read_compare(node: Node<'_>) -> Result<Compare<'_>, CommandError> {
    let number = node.signed(compare::NUMBER);
    let target = match node.byte(compare::TARGET) {
        0 => CompareTarget::Version(number),
        1 => CompareTarget::Create(number),
        2 => CompareTarget::Mod(number),
        3 => CompareTarget::Value(node.bytes(compare::VALUE)),
        4 => CompareTarget::Lease(number),
        compare::UNKNOWN => CompareTarget::Unknown,
        value => return Err(unknown("Compare.target", value)),
    };
    let relation = match node.byte(compare::RELATION) {
        compare::UNKNOWN => Relation::Unknown,
        value => match Relation::from_number(i32::from(value)) {
            Relation::Unknown => return Err(unknown("Compare.relation", value)),
            known => known,
        },
    };
    Ok(Compare {
        key: node.bytes(compare::KEY),
        range_end: node.bytes(compare::RANGE_END),
        target,
        relation,
    })
}

fn read_txn(node: Node<'_>, depth: usize) -> Result<Txn<'_>, CommandError> {
    if depth > MAX_TXN_DEPTH {
        return Err(CommandError::TooDeep);
    }
    Ok(Txn {
        compares: node
            .nodes(txn::COMPARES)
            .map(read_compare)
            .collect::<Result<_, _>>()?,
        success: read_operations(node.nodes(txn::SUCCESS), depth)?,
        failure: read_operations(node.nodes(txn::FAILURE), depth)?,
    })
}

fn read_operations<'a>(
    nodes: impl ExactSizeIterator<Item = Node<'a>>,
    depth: usize,
) -> Result<Vec<Operation<'a>>, CommandError> {
    let mut operations = Vec::with_capacity(nodes.len());
    for node in nodes {
        operations.push(read_operation(node, depth)?);
    }
    Ok(operations)
}

fn read_operation(node: Node<'_>, depth: usize) -> Result<Operation<'_>, CommandError> {
    let member = node.byte(operation::BODY_TYPE);
    if member > operation::TXN {
        return Err(unknown("Operation.body", member));
    }
    // A body without a member was not verified, so it must not be followed.
    if member == 0 {
        return Ok(Operation::Unset);
    }
    let Some(body) = node.node(operation::BODY) else {
        return Ok(Operation::Unset);
    };
    Ok(match member {
        operation::RANGE => Operation::Range(read_range(body)?),
        operation::PUT => Operation::Put(read_put(body)?),
        operation::DELETE_RANGE => Operation::DeleteRange(read_delete_range(body)?),
        _ => Operation::Txn(read_txn(body, depth + 1)?),
    })
}

fn read_compact(node: Node<'_>) -> Result<Compact, CommandError> {
    let flags = known_flags(
        "Compact.flags",
        node.byte(compact::FLAGS),
        compact::PHYSICAL,
    )?;
    Ok(Compact {
        revision: node.signed(compact::REVISION),
        physical: flags & compact::PHYSICAL != 0,
    })
}
