//! Decoding requests as Go does: a field of a known number but another wire type counts as unknown and is passed over.

use super::Status;
use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};

/// Messages within messages that are looked into for such fields.
const DEPTH: u32 = 8;

/// Decodes a request.
pub(crate) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    let error = match M::decode(message.clone()) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    if !is_misfit(&error) {
        return Err(error.into());
    }
    let fits = |field: &[u8]| {
        M::decode(field)
            .err()
            .is_none_or(|error| !is_misfit(&error))
    };
    let kept = without_misfits(&fits, &message, DEPTH)?;
    Ok(M::decode(kept.as_slice())?)
}

/// prost tells its errors apart by their texts only.
fn is_misfit(error: &DecodeError) -> bool {
    error.to_string().contains("invalid wire type: ")
}

/// The fields of a message that fit, each judged alone by `fits`.
fn without_misfits(
    fits: &dyn Fn(&[u8]) -> bool,
    message: &[u8],
    depth: u32,
) -> Result<Vec<u8>, DecodeError> {
    let mut kept = Vec::with_capacity(message.len());
    let mut rest = message;
    while rest.has_remaining() {
        let start = rest;
        let (number, wire_type) = decode_key(&mut rest)?;
        let key = &start[..start.len() - rest.len()];
        skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
        let field = &start[..start.len() - rest.len()];
        if fits(field) {
            kept.extend_from_slice(field);
        } else if wire_type == WireType::LengthDelimited && depth > 0 {
            let wrapped = |content: &[u8]| wrap(key, content);
            let within = |content: &[u8]| fits(&wrapped(content));
            // The content of a text is no message, and a number is none either: such a field goes as a whole.
            let content = without_misfits(&within, content_of(key, field), depth - 1);
            let mended = wrapped(&content.unwrap_or_default());
            if fits(&mended) {
                kept.extend_from_slice(&mended);
            }
        }
    }
    Ok(kept)
}

fn wrap(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(key.len() + 5 + content.len());
    field.extend_from_slice(key);
    encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// What lies behind the key and the length of a field that was found whole.
fn content_of<'a>(key: &[u8], field: &'a [u8]) -> &'a [u8] {
    let behind = &field[key.len()..];
    let length = behind.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    behind.get(length..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::Code;
    use reeve_api::etcdserverpb::{
        PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
    };

    fn put(key: &'static [u8]) -> PutRequest {
        PutRequest {
            key: Bytes::from_static(key),
            ..PutRequest::default()
        }
    }

    #[test]
    fn a_field_of_another_wire_type_is_passed_over() {
        // Field 1, a key, as a 64-bit number; then a value, and a lease as text.
        let message = b"\x09\x01\x02\x03\x04\x05\x06\x07\x08\x12\x01v\x1a\x02no";
        let request: PutRequest = decode(Bytes::from_static(message)).unwrap();
        let expected = PutRequest {
            value: Bytes::from_static(b"v"),
            ..PutRequest::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn the_rest_of_a_message_within_a_message_stays() {
        let operation = RequestOp {
            request: Some(Request::RequestPut(put(b"kept"))),
        };
        let transaction = TxnRequest {
            success: vec![operation],
            ..TxnRequest::default()
        };
        let encoded = transaction.encode_to_vec();
        // The value of the put, field 2, as a number: success { request_put { key, value } }.
        let inner = [put(b"kept").encode_to_vec(), vec![0x10, 7]].concat();
        let message = wrap(&[0x12], &wrap(&[0x12], &inner));
        assert_ne!(message, encoded);
        let decoded: TxnRequest = decode(Bytes::from(message)).unwrap();
        assert_eq!(decoded, transaction);
    }

    #[test]
    fn other_faults_are_reported() {
        for fault in [&b"\x0a\x05abc"[..], b"\x02\x01a", b"\x1a\x01a\x0a\x05abc"] {
            let refused = decode::<RangeRequest>(Bytes::copy_from_slice(fault)).unwrap_err();
            assert_eq!(refused.code, Code::Internal, "{fault:?}");
            let text = "grpc: error unmarshalling request: ";
            assert!(refused.message.starts_with(text), "{refused:?}");
        }
    }

    /// Whatever the bytes are, decoding ends, and refuses nothing that prost accepts.
    #[test]
    fn random_bytes_are_decoded_or_refused() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    // Small numbers are more often keys and lengths.
                    (state % if state & 0x100 == 0 { 32 } else { 256 }) as u8
                })
                .collect();
            let lenient = decode::<TxnRequest>(Bytes::from(bytes.clone()));
            if let Ok(strict) = TxnRequest::decode(bytes.as_slice()) {
                assert_eq!(lenient, Ok(strict));
            }
        }
    }
}
