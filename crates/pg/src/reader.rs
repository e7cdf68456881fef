//! A cursor over received bytes: every read names the field it was for, and none can panic.

use bytes::{Buf, Bytes, TryGetError};

use crate::Lsn;

/// Why received bytes are not the message they should be. The bytes themselves stay out of it:
/// they may hold row values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside this field.
    #[error("message ends inside its field {field}")]
    Truncated {
        /// The field's name in this crate.
        field: &'static str,
    },
    /// A tag, flag or length that the protocol does not know.
    #[error("field {field} has the unknown value {value}")]
    Unknown {
        /// The field's name in this crate.
        field: &'static str,
        /// What stood there.
        value: i64,
    },
    /// A name is not UTF-8; the connection must ask for `client_encoding = UTF8`.
    #[error("field {field} is not utf-8")]
    NotUtf8 {
        /// The field's name in this crate.
        field: &'static str,
    },
    /// The message is longer than its contents.
    #[error("message has {bytes} bytes too many")]
    TrailingBytes {
        /// How many are left over.
        bytes: usize,
    },
}

impl DecodeError {
    pub(crate) fn unknown(field: &'static str, value: u8) -> Self {
        Self::Unknown { field, value: i64::from(value) }
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    data: Bytes,
}

impl Reader {
    pub(crate) fn new(data: Bytes) -> Self {
        Self { data }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.data.len()
    }

    /// What is left, without taking it.
    pub(crate) fn peek(&self) -> Bytes {
        self.data.clone()
    }

    /// The next so many bytes; fewer when there are not so many.
    pub(crate) fn take(&mut self, bytes: usize) -> Bytes {
        self.data.split_to(bytes.min(self.data.len()))
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.data
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.data.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::TrailingBytes { bytes }),
        }
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.number(field, Buf::try_get_u8)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.number(field, Buf::try_get_u16)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.number(field, Buf::try_get_u32)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.number(field, Buf::try_get_i32)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.number(field, Buf::try_get_i64)
    }

    pub(crate) fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.number(field, Buf::try_get_u64).map(Lsn::new)
    }

    /// A byte that must be one of the protocol's flags combined.
    pub(crate) fn flags(&mut self, field: &'static str, known: u8) -> Result<u8, DecodeError> {
        let value = self.u8(field)?;
        if value & !known != 0 {
            return Err(DecodeError::unknown(field, value));
        }
        Ok(value)
    }

    /// A byte string with its length before it.
    pub(crate) fn sized(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.i32(field)?;
        let length = usize::try_from(length)
            .map_err(|_| DecodeError::Unknown { field, value: i64::from(length) })?;
        if length > self.data.len() {
            return Err(DecodeError::Truncated { field });
        }
        Ok(self.data.split_to(length))
    }

    /// A string with a NUL after it, without that NUL.
    pub(crate) fn terminated(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length =
            self.data.iter().position(|&byte| byte == 0).ok_or(DecodeError::Truncated { field })?;
        let text = self.data.split_to(length);
        self.u8(field)?;
        Ok(text)
    }

    /// A NUL-terminated string that must be UTF-8.
    pub(crate) fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let text = self.terminated(field)?;
        std::str::from_utf8(&text).map(str::to_owned).map_err(|_| DecodeError::NotUtf8 { field })
    }

    fn number<N>(
        &mut self,
        field: &'static str,
        get: impl FnOnce(&mut Bytes) -> Result<N, TryGetError>,
    ) -> Result<N, DecodeError> {
        get(&mut self.data).map_err(|_| DecodeError::Truncated { field })
    }
}
