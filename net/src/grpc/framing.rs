//! Length-prefixed messages: what clients get for those that cannot be read.

use super::status::{Code, Status};
use reeve_http2::grpc::MessageError;

/// The failure of a call whose messages cannot be read, in grpc-go's words; `encoding` is its `grpc-encoding`.
pub(crate) fn message_failure(error: MessageError, encoding: Option<&[u8]>) -> Status {
    match (error, encoding) {
        (MessageError::TooLarge { .. }, _) => {
            Status::new(Code::ResourceExhausted, error.to_string())
        }
        (MessageError::Compressed, Some(name)) if !matches!(name, b"" | b"identity") => {
            Status::unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}",
                String::from_utf8_lossy(name)
            ))
        }
        (MessageError::Compressed | MessageError::BadFlag(_), _) => {
            Status::internal(error.to_string())
        }
    }
}
