//! `ExportTraceServiceResponse`, which says what was not taken; that of metrics has the same fields.

use super::{Taken, said};
use crate::protobuf::{Field, Malformed, Reader};

pub(super) fn read(message: &[u8]) -> Result<Taken, Malformed> {
    let mut taken = Taken::default();
    let mut response = Reader::new(message);
    while let Some((number, field)) = response.next()? {
        // `partial_success`.
        let (1, Field::Bytes(partial)) = (number, field) else { continue };
        let mut partial = Reader::new(partial);
        while let Some(field) = partial.next()? {
            match field {
                // Less than none is none.
                (1, Field::Varint(rejected)) => {
                    taken.rejected = i64::try_from(rejected).map_or(0, i64::cast_unsigned)
                }
                (2, Field::Bytes(message)) => taken.message = said(&String::from_utf8_lossy(message)),
                _ => {}
            }
        }
    }
    Ok(taken)
}
