//! The little of protobuf's wire format that OTLP and profiles need: written into one buffer, read with bounds.

/// Wire types (protobuf, "Encoding").
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn raw(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// Left out if it is 0, as protobuf 3 has it.
    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.variant_uint(field, value);
        }
    }

    /// Of a `oneof`, where 0 says which one it is.
    pub(crate) fn variant_uint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    pub(crate) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Left out if there are none.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.variant_bytes(field, value);
        }
    }

    pub(crate) fn variant_bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message within this one. Its length stands before it and is known behind it: one byte is kept free, and what was
    /// written moves on where that is too little.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        self.0.push(0);
        let start = self.0.len();
        write(self);
        let end = self.0.len();
        let mut length = Self::default();
        length.varint((end - start) as u64);
        let more = length.0.len() - 1;
        if more > 0 {
            self.0.resize(end + more, 0);
            self.0.copy_within(start..end, start + more);
        }
        self.0[start - 1..start + more].copy_from_slice(&length.0);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What was received is no protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A message of somebody else: its fields in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a kind that nothing here has.
    Other,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field with its number; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let field = match tag & 7 {
            VARINT => Field::Varint(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Field::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Field::Other)?,
            FIXED32 => self.take(4).map(|_| Field::Other)?,
            // Groups are gone since protobuf 3.
            _ => return Err(Malformed),
        };
        if tag >> 3 == 0 { Err(Malformed) } else { Ok(Some((tag >> 3, field))) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<(u32, Field<'_>)>, Malformed> {
        let (mut reader, mut fields) = (Reader::new(message), Vec::new());
        while let Some(field) = reader.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn a_message_of_any_length_has_its_length_before_it() {
        for length in [0, 1, 126, 127, 128, 200, 16_383, 16_384, 3_000_000] {
            let mut writer = Writer::default();
            writer.uint(1, 7);
            writer.message(2, |within| within.message(3, |within| within.raw(&vec![8; length])));
            writer.uint(4, 300);
            let bytes = writer.into_bytes();
            let found = fields(&bytes).unwrap();
            assert_eq!((found[0], found[2]), ((1, Field::Varint(7)), (4, Field::Varint(300))));
            let (2, Field::Bytes(within)) = found[1] else { panic!("{:?}", found[1]) };
            let (3, Field::Bytes(innermost)) = fields(within).unwrap()[0] else { panic!() };
            assert_eq!(innermost.len(), length);
        }
    }

    #[test]
    fn what_is_cut_or_goes_on_for_ever_is_malformed() {
        for bytes in [&[0x0a, 5, 1][..], &[0xff; 20], &[0x0b], &[0x00, 0], &[0x09, 1, 2]] {
            assert_eq!(fields(bytes), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = fields(&bytes);
        }
    }
}
