//! Frames: a size, then that many bytes; and the part of a request's header that faults go by.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

/// The largest frame that is taken; Kafka's own default limit of a request is 100 MiB.
const FRAME_MAX: usize = 128 << 20;

/// Reads the bytes of one frame, without its size; `None` where the stream ends between frames.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Bytes>> {
    let mut size = [0u8; 4];
    let first = loop {
        match stream.read(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    if let Some(rest) = size.get_mut(first..) {
        stream.read_exact(rest)?;
    }
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {size} bytes")));
    }
    let mut body = vec![0u8; size];
    stream.read_exact(&mut body)?;
    Ok(Some(Bytes::from(body)))
}

/// The bytes of a frame with its size in front.
pub(super) fn with_size(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// The header of a request, as far as all versions have it in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The request's key.
    pub(super) api: i16,
    /// The version of the request and its answer.
    pub(super) version: i16,
    /// What the answer begins with.
    pub(super) correlation: i32,
    /// The client's name; empty where it gives none.
    pub(super) client: String,
}

impl Head {
    /// Reads it from a request; `None` for bytes that are none.
    pub(super) fn of_request(body: &Bytes) -> Option<Self> {
        let mut body = body.clone();
        if body.remaining() < 10 {
            return None;
        }
        let (api, version) = (body.get_i16(), body.get_i16());
        let (correlation, length) = (body.get_i32(), body.get_i16());
        let client = match usize::try_from(length) {
            Ok(length) if length <= body.remaining() => {
                String::from_utf8_lossy(&body.split_to(length)).into_owned()
            }
            Ok(_) => return None,
            Err(_) => String::new(),
        };
        Some(Self { api, version, correlation, client })
    }
}

/// The correlation id that an answer begins with.
pub(super) fn correlation_of_answer(body: &Bytes) -> Option<i32> {
    body.get(..4)?.try_into().ok().map(i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: Option<&str>) -> Bytes {
        let mut body = vec![0, 26, 0, 1, 0, 0, 0, 9];
        match client {
            Some(name) => {
                body.extend_from_slice(&(name.len() as i16).to_be_bytes());
                body.extend_from_slice(name.as_bytes());
            }
            None => body.extend_from_slice(&(-1i16).to_be_bytes()),
        }
        body.extend_from_slice(b"body");
        body.into()
    }

    #[test]
    fn a_head_is_read_with_and_without_a_client_name() {
        let head = |client| Head::of_request(&request(client)).unwrap();
        let expected =
            Head { api: 26, version: 1, correlation: 9, client: "app.i0.0.producer.a".to_owned() };
        assert_eq!(head(Some("app.i0.0.producer.a")), expected);
        assert_eq!(head(None).client, "");
    }

    #[test]
    fn bytes_cut_short_are_no_head() {
        let whole = request(Some("abc"));
        for length in 0..13 {
            assert_eq!(Head::of_request(&whole.slice(..length)), None);
        }
        assert!(Head::of_request(&whole.slice(..13)).is_some());
    }

    #[test]
    fn frames_are_read_one_after_the_other_until_the_stream_ends() {
        let mut stream = with_size(b"one");
        stream.extend(with_size(b""));
        let mut stream = stream.as_slice();
        assert_eq!(read(&mut stream).unwrap(), Some(Bytes::from_static(b"one")));
        assert_eq!(read(&mut stream).unwrap(), Some(Bytes::new()));
        assert_eq!(read(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_frame_that_ends_too_early_or_is_absurd_is_an_error() {
        let whole = with_size(b"one");
        for length in 1..whole.len() {
            assert!(read(&mut &whole[..length]).is_err(), "{length} bytes");
        }
        assert!(read(&mut [255u8; 8].as_slice()).is_err());
    }
}
