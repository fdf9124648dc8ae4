//! HTTP/2 frames by hand (RFC 9113 section 4), for what no well-behaved client library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Endpoint, PATIENCE, Trouble};

/// RFC 9113 section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The largest payload read; every peer keeps to it as long as we announce no other.
const MAX_PAYLOAD: usize = 16 << 10;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection that has sent the preface and an empty SETTINGS frame.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Trouble> {
        let mut stream = endpoint.connect().await?;
        let mut hello = PREFACE.to_vec();
        hello.extend(encode(SETTINGS, 0, 0, &[]));
        stream.write_all(&hello).await?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.map_err(|_| Trouble::Silent(PATIENCE))??;
        Ok(())
    }

    /// Reads frames until one is what is wanted, for at most `within`.
    pub(crate) async fn until(
        &mut self,
        within: Duration,
        wanted: impl FnMut(&Frame) -> bool,
    ) -> Result<Frame, Trouble> {
        timeout(within, seek(&mut self.stream, &mut self.buffer, wanted))
            .await
            .map_err(|_| Trouble::Silent(within))?
    }

    /// Writes `bytes` while reading until a frame is what is wanted: a peer under attack need not read to the end.
    pub(crate) async fn write_until(
        &mut self,
        bytes: &[u8],
        within: Duration,
        wanted: impl FnMut(&Frame) -> bool,
    ) -> Result<Frame, Trouble> {
        let (mut reader, mut writer) = self.stream.split();
        let writing = async {
            // How the peer took it is what is read.
            let _ = writer.write_all(bytes).await;
            std::future::pending::<Result<Frame, Trouble>>().await
        };
        let both = async {
            tokio::select! {
                frame = seek(&mut reader, &mut self.buffer, wanted) => frame,
                never = writing => never,
            }
        };
        timeout(within, both).await.map_err(|_| Trouble::Silent(within))?
    }

    /// Exchanges SETTINGS and gives back the server's.
    pub(crate) async fn settings(&mut self) -> Result<Vec<(u16, u32)>, Trouble> {
        let frame = self.until(PATIENCE, |frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await?;
        self.write(&encode(SETTINGS, ACK, 0, &[])).await?;
        Ok(frame.payload.chunks_exact(6).filter_map(setting).collect())
    }
}

async fn seek<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
    mut wanted: impl FnMut(&Frame) -> bool,
) -> Result<Frame, Trouble> {
    loop {
        while let Some((frame, length)) = decode(buffer)? {
            buffer.drain(..length);
            if wanted(&frame) {
                return Ok(frame);
            }
        }
        if reader.read_buf(buffer).await? == 0 {
            return Err(Trouble::Closed);
        }
    }
}

/// A frame as it goes over the wire.
pub(crate) fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field block of literals without indexing (RFC 7541 section 6.2.2): needs no state on either side.
pub(crate) fn field_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541 section 5.1: an integer with a prefix of seven bits.
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128) as u8 | 128);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The field block of a plain GET.
pub(crate) fn get_block(authority: &str, path: &str) -> Vec<u8> {
    field_block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", authority)])
}

fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Trouble> {
    let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = bytes.first_chunk::<9>() else {
        // An HTTP/1 server answers the preface with a status line: say so now, it will not send nine more bytes.
        return match bytes.first_chunk::<5>() {
            Some(b"HTTP/") => Err(Trouble::Malformed("an HTTP/1 answer on an HTTP/2 connection".to_owned())),
            _ => Ok(None),
        };
    };
    if bytes.starts_with(b"HTTP/") {
        return Err(Trouble::Malformed("an HTTP/1 answer on an HTTP/2 connection".to_owned()));
    }
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > MAX_PAYLOAD {
        return Err(Trouble::Malformed(format!("an HTTP/2 frame of {length} bytes")));
    }
    let Some(payload) = bytes.get(9..9 + length) else { return Ok(None) };
    let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
    Ok(Some((Frame { kind, flags, stream, payload: payload.to_vec() }, 9 + length)))
}

fn setting(entry: &[u8]) -> Option<(u16, u32)> {
    let (name, value) = entry.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*name), u32::from_be_bytes(*value.first_chunk::<4>()?)))
}

#[cfg(test)]
mod tests {
    use super::{END_HEADERS, Frame, HEADERS, decode, encode, field_block};

    #[test]
    fn a_frame_is_read_back_as_it_was_written_and_never_from_a_part() {
        let wire = encode(HEADERS, END_HEADERS, 5, b"payload");
        let frame = Frame { kind: HEADERS, flags: END_HEADERS, stream: 5, payload: b"payload".to_vec() };
        assert_eq!(decode(&wire).expect("a frame"), Some((frame, wire.len())));
        for cut in 0..wire.len() {
            assert_eq!(decode(&wire[..cut]).expect("a prefix is no error"), None);
        }
    }

    #[test]
    fn an_http1_answer_and_a_giant_frame_are_refused() {
        assert!(decode(b"HTTP/1.1 400 Bad Request\r\n").is_err());
        assert!(decode(&[255, 255, 255, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn long_literals_use_the_continued_integer_of_rfc_7541() {
        let block = field_block(&[("a", &"x".repeat(1337))]);
        // RFC 7541 appendix C.1.2 in spirit: 1337 = 127 + 58 + 9 * 128.
        assert_eq!(block[..6], [0, 1, b'a', 127, 58 | 128, 9]);
        assert_eq!(block.len(), 6 + 1337);
    }
}
