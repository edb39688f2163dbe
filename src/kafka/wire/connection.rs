//! One connection to one broker: a request, its answer, nothing in parallel.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{RequestHeader, ResponseHeader},
    protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer},
};

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum WireError {
    /// No connection, or it broke.
    #[error("{address}: {reason}")]
    Io {
        /// The broker.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// An answer that cannot be read.
    #[error("{address}: answer not understood: {reason}")]
    Codec {
        /// The broker.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The broker says no.
    #[error("{what}: {name}")]
    Broker {
        /// The request, and what it was about.
        what: String,
        /// The protocol's error code.
        code: i16,
        /// The error's name and the broker's words.
        name: String,
    },
    /// The settings do not allow it.
    #[error("{0}")]
    Unsupported(String),
}

impl WireError {
    /// Turns an error code into an error; `Ok` for none.
    pub(super) fn check(code: i16, what: impl FnOnce() -> String) -> Result<(), Self> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(error) => Err(Self::Broker { what: what(), code, name: error_name(&error, code) }),
        }
    }
}

/// The protocol's spelling, for example `UNSTABLE_OFFSET_COMMIT`.
fn error_name(error: &ResponseError, code: i16) -> String {
    let mut name = String::new();
    let variant = format!("{error:?}");
    for (index, letter) in variant.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    format!("{name} ({code})")
}

/// The largest answer that is taken.
const ANSWER_MAX: usize = 64 << 20;

/// A connection.
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    client_id: StrBytes,
    correlation: i32,
}

impl Connection {
    /// Connects; tries every address that the name has.
    pub(super) fn open(
        address: &str,
        client_id: &str,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, WireError> {
        let io = |reason: String| WireError::Io { address: address.to_owned(), reason };
        let targets = address.to_socket_addrs().map_err(|error| io(error.to_string()))?;
        let mut last = "the name has no address".to_owned();
        for target in targets {
            match TcpStream::connect_timeout(&target, connect_timeout) {
                Ok(stream) => {
                    let prepared = stream
                        .set_nodelay(true)
                        .and_then(|()| stream.set_read_timeout(Some(timeout)))
                        .and_then(|()| stream.set_write_timeout(Some(timeout)));
                    prepared.map_err(|error| io(error.to_string()))?;
                    return Ok(Self {
                        address: address.to_owned(),
                        stream,
                        client_id: StrBytes::from_string(client_id.to_owned()),
                        correlation: 0,
                    });
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(io(last))
    }

    /// Sends a request and waits for its answer. After an error the connection is useless.
    pub(super) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, WireError> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = self.encode(request, version).map_err(|reason| self.codec(reason))?;
        self.stream.write_all(&frame).map_err(|error| self.io(&error))?;
        let mut size = [0u8; 4];
        self.stream.read_exact(&mut size).map_err(|error| self.io(&error))?;
        let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if size > ANSWER_MAX {
            return Err(self.codec(format!("an answer of {size} bytes")));
        }
        let mut body = vec![0u8; size];
        self.stream.read_exact(&mut body).map_err(|error| self.io(&error))?;
        let mut body = Bytes::from(body);
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version))
            .map_err(|error| self.codec(error.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(self.codec(format!("answer {} out of order", header.correlation_id)));
        }
        R::Response::decode(&mut body, version).map_err(|error| self.codec(error.to_string()))
    }

    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<Bytes, String> {
        let mut header = RequestHeader::default();
        header.request_api_key = R::KEY;
        header.request_api_version = version;
        header.correlation_id = self.correlation;
        header.client_id = Some(self.client_id.clone());
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[0; 4]);
        encode_request_header_into_buffer(&mut frame, &header).map_err(|e| e.to_string())?;
        request.encode(&mut frame, version).map_err(|e| e.to_string())?;
        let size = i32::try_from(frame.len() - 4).map_err(|e| e.to_string())?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(frame.freeze())
    }

    fn io(&self, error: &std::io::Error) -> WireError {
        WireError::Io { address: self.address.clone(), reason: error.to_string() }
    }

    fn codec(&self, reason: String) -> WireError {
        WireError::Codec { address: self.address.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_named_as_the_protocol_names_them() {
        let error = WireError::check(88, || "offsets of g".to_owned()).unwrap_err();
        assert_eq!(error.to_string(), "offsets of g: UNSTABLE_OFFSET_COMMIT (88)");
        assert_eq!(WireError::check(0, String::new), Ok(()));
    }
}
