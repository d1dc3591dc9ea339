//! Engine results as protobuf messages. The frequent ones are written by hand, straight into the answer's buffer.

use bytes::Bytes;
use prost::Message;
use prost::encoding::encode_varint;
use reeve_api::etcdserverpb::{self as pb, ResponseHeader, response_op::Response};
use reeve_api::mvccpb;
use reeve_engine::mvcc::{KeyValue, KeyValues, OperationResult, RangeSummary, TxnResult};

/// Tag of field `number` with a length.
const fn delimited(number: u8) -> u8 {
    number << 3 | 2
}

/// Tag of field `number` with a varint.
const fn varint(number: u8) -> u8 {
    number << 3
}

/// An answer with a header and nothing else: field 1 of every response is its header.
pub(crate) fn header_only(header: &ResponseHeader) -> Bytes {
    let mut message = Vec::with_capacity(2 + header.encoded_len());
    put_header(header, &mut message);
    message.into()
}

/// Appends the header as field 1.
pub(crate) fn put_header(header: &ResponseHeader, into: &mut Vec<u8>) {
    put_length(1, header.encoded_len(), into);
    header.encode_raw(into);
}

/// `PutResponse`.
pub(crate) fn put(header: &ResponseHeader, previous: Option<&KeyValues>) -> Bytes {
    let mut message = Vec::with_capacity(40 + previous.map_or(0, KeyValues::encoded_bytes));
    put_header(header, &mut message);
    if let Some(pair) = previous.and_then(|pairs| pairs.messages().next()) {
        put_length(2, pair.len(), &mut message);
        message.extend_from_slice(pair);
    }
    message.into()
}

/// `DeleteRangeResponse`.
pub(crate) fn delete_range(header: &ResponseHeader, deleted: i64, previous: &KeyValues) -> Bytes {
    let mut message = Vec::with_capacity(48 + previous.encoded_bytes() + previous.len());
    put_header(header, &mut message);
    put_number(2, deleted, &mut message);
    for pair in previous.messages() {
        put_length(3, pair.len(), &mut message);
        message.extend_from_slice(pair);
    }
    message.into()
}

/// Appends a pair as one of the `kvs` of a `RangeResponse`.
pub(crate) fn put_pair(pair: &KeyValue<'_>, into: &mut Vec<u8>) {
    into.push(delimited(2));
    encode_varint(pair.encoded_length(), into);
    pair.encode(into);
}

/// Bytes that [`put_pair`] appends, with the value's announced length.
pub(crate) fn pair_length(pair: &KeyValue<'_>) -> u64 {
    let length = pair.encoded_length();
    1 + prost::encoding::encoded_len_varint(length) as u64 + length
}

/// Appends what a `RangeResponse` holds besides its pairs. The order of fields is free in protobuf.
pub(crate) fn put_range_summary(
    header: &ResponseHeader,
    summary: &RangeSummary,
    into: &mut Vec<u8>,
) {
    put_header(header, into);
    if summary.more {
        into.extend_from_slice(&[varint(3), 1]);
    }
    put_number(4, summary.count, into);
}

/// `RangeStreamResponse` around an encoded `RangeResponse`.
pub(crate) fn range_stream(response: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(response.len() + 6);
    put_length(1, response.len(), &mut message);
    message.extend_from_slice(response);
    message.into()
}

/// `TxnResponse`. Headers of operations hold a revision alone, that of a nested transaction nothing.
pub(crate) fn txn(header: ResponseHeader, result: &TxnResult) -> Bytes {
    nested_txn(header, result).encode_to_vec().into()
}

fn nested_txn(header: ResponseHeader, result: &TxnResult) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: result.succeeded,
        responses: result.results.iter().map(operation).collect(),
    }
}

fn operation(result: &OperationResult) -> pb::ResponseOp {
    let header = |revision: &i64| {
        Some(ResponseHeader {
            revision: *revision,
            ..ResponseHeader::default()
        })
    };
    let response = match result {
        OperationResult::Range {
            revision,
            count,
            more,
            pairs,
        } => Response::ResponseRange(pb::RangeResponse {
            header: header(revision),
            kvs: pairs.iter().map(|pair| owned(&pair)).collect(),
            more: *more,
            count: *count,
        }),
        OperationResult::Put { revision, previous } => Response::ResponsePut(pb::PutResponse {
            header: header(revision),
            prev_kv: previous
                .as_ref()
                .and_then(|pairs| pairs.iter().next())
                .map(|pair| owned(&pair)),
        }),
        OperationResult::DeleteRange {
            revision,
            deleted,
            previous,
        } => Response::ResponseDeleteRange(pb::DeleteRangeResponse {
            header: header(revision),
            deleted: *deleted,
            prev_kvs: previous.iter().map(|pair| owned(&pair)).collect(),
        }),
        OperationResult::Txn(result) => {
            Response::ResponseTxn(nested_txn(ResponseHeader::default(), result))
        }
    };
    pb::ResponseOp {
        response: Some(response),
    }
}

/// A pair that owns its bytes.
pub(crate) fn owned(pair: &KeyValue<'_>) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(pair.key),
        create_revision: pair.create_revision,
        mod_revision: pair.mod_revision,
        version: pair.version,
        value: Bytes::copy_from_slice(pair.value),
        lease: pair.lease,
    }
}

fn put_length(number: u8, length: usize, into: &mut Vec<u8>) {
    into.push(delimited(number));
    encode_varint(length as u64, into);
}

fn put_number(number: u8, value: i64, into: &mut Vec<u8>) {
    if value != 0 {
        into.push(varint(number));
        encode_varint(value.cast_unsigned(), into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ResponseHeader {
        ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 7,
            revision: 300,
            raft_term: 2,
        }
    }

    fn pair<'a>() -> KeyValue<'a> {
        KeyValue {
            key: b"key",
            create_revision: 2,
            mod_revision: 300,
            version: 4,
            lease: -1,
            value: b"value",
            value_length: 5,
        }
    }

    #[test]
    fn a_put_answers_as_prost_would() {
        let mut previous = KeyValues::default();
        previous.push(&pair());
        let expected = pb::PutResponse {
            header: Some(header()),
            prev_kv: Some(owned(&pair())),
        };
        assert_eq!(put(&header(), Some(&previous)), expected.encode_to_vec());
        let expected = pb::PutResponse {
            header: Some(header()),
            prev_kv: None,
        };
        assert_eq!(put(&header(), None), expected.encode_to_vec());
        assert_eq!(header_only(&header()), expected.encode_to_vec());
    }

    #[test]
    fn a_delete_answers_as_prost_would() {
        let mut previous = KeyValues::default();
        previous.push(&pair());
        previous.push(&pair());
        let expected = pb::DeleteRangeResponse {
            header: Some(header()),
            deleted: 2,
            prev_kvs: vec![owned(&pair()), owned(&pair())],
        };
        assert_eq!(
            delete_range(&header(), 2, &previous),
            expected.encode_to_vec()
        );
    }

    #[test]
    fn a_range_decodes_to_what_was_put_in() {
        let mut message = Vec::new();
        put_pair(&pair(), &mut message);
        assert_eq!(message.len() as u64, pair_length(&pair()));
        let summary = RangeSummary {
            revision: 300,
            count: 9,
            more: true,
        };
        put_range_summary(&header(), &summary, &mut message);
        let decoded = pb::RangeResponse::decode(message.as_slice()).unwrap();
        let kvs = vec![owned(&pair())];
        assert_eq!(
            decoded,
            pb::RangeResponse {
                header: Some(header()),
                kvs,
                more: true,
                count: 9
            }
        );
    }
}
