//! Builds messages as a server would, field by field; independent of the decoder.

use bytes::{BufMut, Bytes, BytesMut};

/// A message under construction.
#[derive(Debug, Clone)]
pub(crate) struct Build(BytesMut);

impl Build {
    pub(crate) fn tag(tag: u8) -> Self {
        Self(BytesMut::new()).u8(tag)
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.put_u8(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.put_u16(value);
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.put_u32(value);
        self
    }

    pub(crate) fn i32(mut self, value: i32) -> Self {
        self.0.put_i32(value);
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.put_u64(value);
        self
    }

    pub(crate) fn i64(mut self, value: i64) -> Self {
        self.0.put_i64(value);
        self
    }

    pub(crate) fn text(mut self, value: &str) -> Self {
        self.0.put_slice(value.as_bytes());
        self.u8(0)
    }

    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.0.put_slice(value);
        self
    }

    pub(crate) fn sized(self, value: &[u8]) -> Self {
        self.i32(i32::try_from(value.len()).expect("a short value")).raw(value)
    }

    pub(crate) fn bytes(self) -> Bytes {
        self.0.freeze()
    }
}
