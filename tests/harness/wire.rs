//! Questions to brokers that the safe client does not ask: who coordinates, who controls.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        DescribeQuorumRequest, FindCoordinatorRequest, RequestHeader, ResponseHeader, TopicName,
        describe_quorum_request::{PartitionData, TopicData},
    },
    protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer},
};

const ANSWER: Duration = Duration::from_secs(5);

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coordinated {
    Group,
    TransactionalId,
}

/// The number of the broker that coordinates a group or a transactional id.
pub(crate) fn coordinator(bootstrap: &str, what: Coordinated, key: &str) -> Result<i32> {
    let request = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(key.to_owned()))
        .with_key_type(i8::from(what == Coordinated::TransactionalId));
    let answer = ask(bootstrap, &request, 3)?;
    if answer.error_code != 0 {
        bail!("coordinator of {key}: error {}", answer.error_code);
    }
    Ok(answer.node_id.0)
}

/// The number of the controller that leads.
pub(crate) fn controller(bootstrap: &str) -> Result<i32> {
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
        .with_partitions(vec![PartitionData::default()]);
    let answer = ask(bootstrap, &DescribeQuorumRequest::default().with_topics(vec![topic]), 0)?;
    if answer.error_code != 0 {
        bail!("quorum: error {}", answer.error_code);
    }
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    Ok(partition.context("the quorum was not described")?.leader_id.0)
}

/// Asks the first broker that answers.
fn ask<R: Request>(bootstrap: &str, request: &R, version: i16) -> Result<R::Response> {
    let mut last = anyhow!("no address in {bootstrap:?}");
    for address in bootstrap.split(',') {
        match ask_one(address, request, version) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error.context(address.to_owned()),
        }
    }
    Err(last)
}

fn ask_one<R: Request>(address: &str, request: &R, version: i16) -> Result<R::Response> {
    let target = address.to_socket_addrs()?.next().context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("tidemill-harness")));
    let mut body = BytesMut::new();
    encode_request_header_into_buffer(&mut body, &header)?;
    request.encode(&mut body, version)?;
    stream.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
    stream.write_all(&body)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size))?];
    stream.read_exact(&mut answer)?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
    R::Response::decode(&mut answer, version)
}
