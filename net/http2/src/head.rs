//! Request heads: the fields of a header block, checked and put in order.

use crate::{
    field::{Field, FieldKind},
    hpack::{Decoder, FieldList, HpackError},
};
use std::{cell::Cell, fmt, rc::Rc};

/// Blocks that are remembered with their heads per connection: as many as a client calls methods in turns.
const CACHED_HEADS: usize = 4;
/// Longer blocks are not worth comparing.
const CACHED_BLOCK_BYTES: usize = 512;
/// Larger lists are not kept for the comparison with the next request.
const KEPT_LIST_BYTES: usize = 4 * 1024;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST: all of gRPC.
    Post,
    /// OPTIONS
    Options,
    /// Any other; its name is in [`RequestHead::method_name`].
    Other,
}

/// What the body claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// There is no `content-type`.
    None,
    /// `application/grpc`, alone or followed by `+` or `;`.
    Grpc,
    /// Anything else.
    Other,
}

/// The head of a request, valid by the rules of RFC 9113, section 8.
///
/// Requests of a connection that differ in nothing but `grpc-timeout` share one head.
pub struct RequestHead {
    method: Method,
    content_kind: ContentKind,
    te_trailers: bool,
    method_field: Rc<Field>,
    scheme: Rc<Field>,
    path: Rc<Field>,
    authority: Option<Rc<Field>>,
    content_type: Option<Rc<Field>>,
    content_length: Option<u64>,
    metadata: Vec<Rc<Field>>,
    memo: Cell<u32>,
}

impl RequestHead {
    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as the client wrote it.
    pub fn method_name(&self) -> &[u8] {
        self.method_field.value()
    }

    /// `http` or `https`, as the client says.
    pub fn scheme(&self) -> &[u8] {
        self.scheme.value()
    }

    /// The path: it begins with `/`, or is `*`.
    #[inline]
    pub fn path(&self) -> &[u8] {
        self.path.value()
    }

    /// The host and port that the client asked for: `:authority`, else `host`.
    pub fn authority(&self) -> Option<&[u8]> {
        match &self.authority {
            Some(field) => Some(field.value()),
            None => self
                .metadata
                .iter()
                .find(|field| field.name() == b"host")
                .map(|f| f.value()),
        }
    }

    /// What the body claims to be.
    #[inline]
    pub fn content_kind(&self) -> ContentKind {
        self.content_kind
    }

    /// The `content-type`.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.content_type.as_ref().map(|field| field.value())
    }

    /// Whether `te: trailers` is there, as gRPC demands.
    pub fn te_trailers(&self) -> bool {
        self.te_trailers
    }

    /// The `content-length`. The connection checks it against the body.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// All other fields in order. `grpc-timeout` is not among them; it comes with the event.
    #[inline]
    pub fn metadata(&self) -> &[Rc<Field>] {
        &self.metadata
    }

    /// The first field of a kind among the metadata.
    pub fn find(&self, kind: FieldKind) -> Option<&Field> {
        self.metadata
            .iter()
            .find(|field| field.kind() == kind)
            .map(|field| &**field)
    }

    /// A number that the host keeps with the head, 0 at first: such as the handler found for the path, which all
    /// requests with this head share.
    #[inline]
    pub fn memo(&self) -> u32 {
        self.memo.get()
    }

    /// Sets [`RequestHead::memo`].
    #[inline]
    pub fn set_memo(&self, memo: u32) {
        self.memo.set(memo);
    }

    /// Checks `list` and puts it in order; says as well how much memory the head alone holds, about.
    fn assemble(list: &FieldList) -> Result<(RequestHead, usize), Malformed> {
        let mut parts = Parts::default();
        for field in &list.fields {
            parts.take(field)?;
        }
        parts.finish(list)
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RequestHead")
            .field("method", &self.method_field)
            .field("scheme", &self.scheme)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("content_type", &self.content_type)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// The request breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A head while it is being read.
#[derive(Default)]
struct Parts {
    method: Option<Rc<Field>>,
    scheme: Option<Rc<Field>>,
    path: Option<Rc<Field>>,
    authority: Option<Rc<Field>>,
    content_type: Option<Rc<Field>>,
    content_length: Option<u64>,
    te_trailers: bool,
    regular_seen: bool,
    metadata: Vec<Rc<Field>>,
}

impl Parts {
    fn take(&mut self, field: &Rc<Field>) -> Result<(), Malformed> {
        let pseudo = match field.kind() {
            FieldKind::Malformed => return Err(Malformed),
            FieldKind::Method => &mut self.method,
            FieldKind::Scheme => &mut self.scheme,
            FieldKind::Path => &mut self.path,
            FieldKind::Authority => &mut self.authority,
            _ => return self.take_regular(field),
        };
        if self.regular_seen || pseudo.is_some() {
            return Err(Malformed);
        }
        *pseudo = Some(Rc::clone(field));
        Ok(())
    }

    fn take_regular(&mut self, field: &Rc<Field>) -> Result<(), Malformed> {
        self.regular_seen = true;
        match field.kind() {
            FieldKind::Te => self.te_trailers = true,
            FieldKind::ContentType if self.content_type.is_none() => {
                self.content_type = Some(Rc::clone(field));
            }
            FieldKind::ContentLength => {
                let length = parse_decimal(field.value()).ok_or(Malformed)?;
                if self
                    .content_length
                    .replace(length)
                    .is_some_and(|before| before != length)
                {
                    return Err(Malformed);
                }
            }
            _ => self.metadata.push(Rc::clone(field)),
        }
        Ok(())
    }

    fn finish(mut self, list: &FieldList) -> Result<(RequestHead, usize), Malformed> {
        let (Some(method_field), Some(scheme), Some(path)) = (self.method, self.scheme, self.path)
        else {
            return Err(Malformed);
        };
        let method = match method_field.value() {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"OPTIONS" => Method::Options,
            b"" | b"CONNECT" => return Err(Malformed),
            _ => Method::Other,
        };
        if !path.value().starts_with(b"/") && (method != Method::Options || path.value() != b"*") {
            return Err(Malformed);
        }
        self.metadata.shrink_to_fit();
        let fields_bytes = self.metadata.len() * size_of::<Rc<Field>>();
        let own_bytes = size_of::<RequestHead>() + fields_bytes + list.own_bytes;
        let head = RequestHead {
            method,
            content_kind: content_kind(self.content_type.as_deref()),
            te_trailers: self.te_trailers,
            method_field,
            scheme,
            path,
            authority: self.authority,
            content_type: self.content_type,
            content_length: self.content_length,
            metadata: self.metadata,
            memo: Cell::new(0),
        };
        Ok((head, own_bytes))
    }
}

fn content_kind(field: Option<&Field>) -> ContentKind {
    let Some(field) = field else {
        return ContentKind::None;
    };
    let prefix = b"application/grpc";
    let value = field.value();
    match value.split_at_checked(prefix.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(prefix) => match rest.first() {
            None | Some(b'+' | b';') => ContentKind::Grpc,
            Some(_) => ContentKind::Other,
        },
        _ => ContentKind::Other,
    }
}

fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// What a header block turned out to be.
#[derive(Debug)]
pub(crate) enum Block {
    /// A valid request.
    Request {
        head: Rc<RequestHead>,
        timeout: Option<Rc<Field>>,
        /// Memory that is held for this request alone, about.
        own_bytes: usize,
    },
    /// Over a limit of the header list.
    TooLarge,
    /// Against the rules for requests.
    Malformed,
}

/// A block whose meaning is known as long as the table does not change.
#[derive(Debug)]
struct Cached {
    generation: u64,
    block: Vec<u8>,
    head: Rc<RequestHead>,
    timeout: Option<Rc<Field>>,
}

/// Reads the header blocks of a connection.
#[derive(Debug)]
pub(crate) struct HeadReader {
    decoder: Decoder,
    list: FieldList,
    /// The head read last, and the fields it was made of.
    last: Option<(Rc<RequestHead>, Vec<Rc<Field>>)>,
    cache: Vec<Cached>,
    replace_next: usize,
}

impl HeadReader {
    pub(crate) fn new() -> Self {
        HeadReader {
            decoder: Decoder::new(),
            list: FieldList::default(),
            last: None,
            cache: Vec::new(),
            replace_next: 0,
        }
    }

    /// Reads the block of a request.
    #[inline]
    pub(crate) fn request(&mut self, block: &[u8]) -> Result<Block, HpackError> {
        let generation = self.decoder.generation();
        for known in &self.cache {
            if known.generation == generation && known.block == block {
                let head = Rc::clone(&known.head);
                return Ok(Block::Request {
                    head,
                    timeout: known.timeout.clone(),
                    own_bytes: 0,
                });
            }
        }
        self.decode_request(block)
    }

    /// Reads a block whose fields are not wanted, because the compression state has to follow it.
    pub(crate) fn skip(&mut self, block: &[u8]) -> Result<(), HpackError> {
        self.list.clear();
        self.decoder.decode(block, &mut self.list)?;
        self.clear_list();
        Ok(())
    }

    /// Reads the trailers of a request, and says whether they are valid.
    pub(crate) fn trailers(&mut self, block: &[u8]) -> Result<bool, HpackError> {
        self.list.clear();
        self.decoder.decode(block, &mut self.list)?;
        let forbidden = |field: &Rc<Field>| {
            field.kind() == FieldKind::Malformed || field.name().starts_with(b":")
        };
        let valid = !self.list.too_large && !self.list.fields.iter().any(forbidden);
        self.clear_list();
        Ok(valid)
    }

    fn decode_request(&mut self, block: &[u8]) -> Result<Block, HpackError> {
        let generation = self.decoder.generation();
        self.list.clear();
        self.decoder.decode(block, &mut self.list)?;
        if self.list.too_large {
            self.clear_list();
            return Ok(Block::TooLarge);
        }
        let (head, own_bytes) = match &self.last {
            Some((head, fields)) if *fields == self.list.fields => (Rc::clone(head), 0),
            _ => match RequestHead::assemble(&self.list) {
                Ok((head, own_bytes)) => (Rc::new(head), own_bytes),
                Err(Malformed) => {
                    self.clear_list();
                    return Ok(Block::Malformed);
                }
            },
        };
        let timeout = self.list.timeout.take();
        self.remember(generation, block, &head, timeout.as_ref());
        Ok(Block::Request {
            head,
            timeout,
            own_bytes,
        })
    }

    fn remember(
        &mut self,
        generation: u64,
        block: &[u8],
        head: &Rc<RequestHead>,
        timeout: Option<&Rc<Field>>,
    ) {
        if self.list.bytes > KEPT_LIST_BYTES {
            self.last = None;
            return self.clear_list();
        }
        let before = self
            .last
            .take()
            .map(|(_, fields)| fields)
            .unwrap_or_default();
        let fields = std::mem::replace(&mut self.list.fields, before);
        self.last = Some((Rc::clone(head), fields));
        self.list.clear();
        if generation == self.decoder.generation() && block.len() <= CACHED_BLOCK_BYTES {
            let head = Rc::clone(head);
            let entry = Cached {
                generation,
                block: block.to_vec(),
                head,
                timeout: timeout.cloned(),
            };
            self.cache_entry(entry);
        }
    }

    fn cache_entry(&mut self, entry: Cached) {
        if self.cache.len() < CACHED_HEADS {
            self.cache.push(entry);
        } else if let Some(slot) = self.cache.get_mut(self.replace_next) {
            *slot = entry;
            self.replace_next = (self.replace_next + 1) % CACHED_HEADS;
        }
    }

    /// Drops the fields, and the memory of unusually long lists.
    fn clear_list(&mut self) {
        self.list.clear();
        self.list.fields.shrink_to(32);
    }
}
