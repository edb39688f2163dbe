//! Answers that the proxy gives itself: an error code in the form of the request's API. Pure.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey,
        EndTxnResponse, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
        HeartbeatResponse, InitProducerIdResponse, JoinGroupResponse, LeaveGroupResponse,
        ListOffsetsRequest, ListOffsetsResponse, OffsetFetchRequest, OffsetFetchResponse,
        ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, SyncGroupResponse,
        TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
        },
        find_coordinator_response::Coordinator,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_fetch_response::OffsetFetchResponseGroup,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
        txn_offset_commit_response::{
            TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
        },
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request},
};

use super::frame::Head;

/// From here on, answers of OffsetFetch and FindCoordinator have one part per group or key.
const OFFSET_FETCH_GROUPS: i16 = 8;
const FIND_COORDINATOR_KEYS: i16 = 4;

/// The answer to a request that says `code` throughout; `None` where the request cannot be read,
/// or there is no place for a code in its answer.
pub(super) fn of(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    match ApiKey::try_from(head.api).ok()? {
        ApiKey::EndTxn => write(head, EndTxnResponse::default().with_error_code(code)),
        ApiKey::AddOffsetsToTxn => {
            write(head, AddOffsetsToTxnResponse::default().with_error_code(code))
        }
        ApiKey::InitProducerId => {
            write(head, InitProducerIdResponse::default().with_error_code(code))
        }
        ApiKey::Heartbeat => write(head, HeartbeatResponse::default().with_error_code(code)),
        ApiKey::JoinGroup => write(head, JoinGroupResponse::default().with_error_code(code)),
        ApiKey::SyncGroup => write(head, SyncGroupResponse::default().with_error_code(code)),
        ApiKey::LeaveGroup => write(head, LeaveGroupResponse::default().with_error_code(code)),
        ApiKey::Fetch => write(head, FetchResponse::default().with_error_code(code)),
        ApiKey::FindCoordinator => find_coordinator(head, request, code),
        ApiKey::OffsetFetch => offset_fetch(head, request, code),
        ApiKey::Produce => produce(head, request, code),
        ApiKey::ListOffsets => list_offsets(head, request, code),
        ApiKey::AddPartitionsToTxn => add_partitions(head, request, code),
        ApiKey::TxnOffsetCommit => txn_offset_commit(head, request, code),
        _ => None,
    }
}

fn find_coordinator(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    let request: FindCoordinatorRequest = read(head, request)?;
    let answer = FindCoordinatorResponse::default();
    if head.version < FIND_COORDINATOR_KEYS {
        return write(head, answer.with_error_code(code));
    }
    let keys = request.coordinator_keys.into_iter();
    let refused = keys.map(|key| Coordinator::default().with_key(key).with_error_code(code));
    write(head, answer.with_coordinators(refused.collect()))
}

fn offset_fetch(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    let request: OffsetFetchRequest = read(head, request)?;
    let answer = OffsetFetchResponse::default();
    if head.version < OFFSET_FETCH_GROUPS {
        return write(head, answer.with_error_code(code));
    }
    let groups = request.groups.into_iter().map(|group| {
        OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_error_code(code)
    });
    write(head, answer.with_groups(groups.collect()))
}

fn produce(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    let request: ProduceRequest = read(head, request)?;
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.into_iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_error_code(code)
                .with_base_offset(-1)
        });
        TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions.collect())
    });
    write(head, ProduceResponse::default().with_responses(topics.collect()))
}

fn list_offsets(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    let request: ListOffsetsRequest = read(head, request)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    write(head, ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// Version 4 and up are the brokers' own.
fn add_partitions(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    if head.version > 3 {
        return None;
    }
    let request: AddPartitionsToTxnRequest = read(head, request)?;
    let topics = request.v3_and_below_topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(partition)
                .with_partition_error_code(code)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name)
            .with_results_by_partition(partitions.collect())
    });
    let answer = AddPartitionsToTxnResponse::default();
    write(head, answer.with_results_by_topic_v3_and_below(topics.collect()))
}

fn txn_offset_commit(head: &Head, request: &Bytes, code: i16) -> Option<Bytes> {
    let request: TxnOffsetCommitRequest = read(head, request)?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    write(head, TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}

fn read<R: Request>(head: &Head, request: &Bytes) -> Option<R> {
    let mut body = request.clone();
    RequestHeader::decode(&mut body, R::header_version(head.version)).ok()?;
    R::decode(&mut body, head.version).ok()
}

fn write<R: Encodable + HeaderVersion>(head: &Head, answer: R) -> Option<Bytes> {
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(head.correlation);
    header.encode(&mut body, R::header_version(head.version)).ok()?;
    answer.encode(&mut body, head.version).ok()?;
    Some(body.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::{
            EndTxnRequest, GroupId, TopicName,
            add_partitions_to_txn_request::AddPartitionsToTxnTopic,
            offset_fetch_request::OffsetFetchRequestGroup,
            produce_request::{PartitionProduceData, TopicProduceData},
            txn_offset_commit_request::{
                TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
            },
        },
        protocol::{StrBytes, encode_request_header_into_buffer},
    };

    use super::*;

    const NOT_COORDINATOR: i16 = 16;

    fn refused<R: Request>(request: &R, version: i16) -> R::Response {
        let mut body = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(Some(StrBytes::from_static_str("c")));
        encode_request_header_into_buffer(&mut body, &header).unwrap();
        request.encode(&mut body, version).unwrap();
        let body = body.freeze();
        let mut answer = of(&Head::of_request(&body).unwrap(), &body, NOT_COORDINATOR).unwrap();
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).unwrap();
        assert_eq!(header.correlation_id, 77);
        let decoded = R::Response::decode(&mut answer, version).unwrap();
        assert!(answer.is_empty());
        decoded
    }

    fn topic() -> TopicName {
        TopicName(StrBytes::from_static_str("t"))
    }

    #[test]
    fn an_answer_of_its_own_says_the_code() {
        assert_eq!(refused(&EndTxnRequest::default(), 1).error_code, NOT_COORDINATOR);
    }

    #[test]
    fn every_partition_of_a_request_gets_the_code() {
        let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(4);
        let offsets = TxnOffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let answer = refused(&TxnOffsetCommitRequest::default().with_topics(vec![offsets]), 3);
        let refused_partition = &answer.topics[0].partitions[0];
        assert_eq!((refused_partition.partition_index, refused_partition.error_code), (4, 16));

        let data = PartitionProduceData::default().with_index(2);
        let data = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
        let answer = refused(&ProduceRequest::default().with_topic_data(vec![data]), 9);
        let refused_partition = &answer.responses[0].partition_responses[0];
        assert_eq!((refused_partition.index, refused_partition.error_code), (2, 16));

        let added =
            AddPartitionsToTxnTopic::default().with_name(topic()).with_partitions(vec![0, 1]);
        let request = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(vec![added]);
        let answer = refused(&request, 0);
        let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
        assert!(results.iter().all(|result| result.partition_error_code == 16));
        assert_eq!(results.len(), 2);
    }

    #[test]
    fn the_code_stands_where_the_version_has_it() {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str("g")));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        assert_eq!(refused(&request, 9).groups[0].error_code, NOT_COORDINATOR);
        assert_eq!(refused(&OffsetFetchRequest::default(), 7).error_code, NOT_COORDINATOR);

        let keys = vec![StrBytes::from_static_str("k")];
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        assert_eq!(refused(&request, 4).coordinators[0].error_code, NOT_COORDINATOR);
        assert_eq!(refused(&FindCoordinatorRequest::default(), 2).error_code, NOT_COORDINATOR);
    }

    #[test]
    fn what_has_no_place_for_a_code_is_not_refused() {
        let head = Head { api: 3, version: 9, correlation: 1, client: String::new() };
        assert_eq!(of(&head, &Bytes::new(), 1), None);
    }
}
