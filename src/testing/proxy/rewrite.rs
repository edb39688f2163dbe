//! Answers that name brokers: their addresses become the proxy's. Pure.
//!
//! Fetch answers name brokers, too, from version 16 on; to leave records alone, clients are told
//! that the broker speaks Fetch up to version 15.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, DescribeClusterResponse, FindCoordinatorResponse,
        MetadataResponse, ProduceResponse, ResponseHeader,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};

/// The newest version of Fetch whose answers name no brokers.
const FETCH_MAX: i16 = 15;

/// Answers of Produce name brokers from here on.
const PRODUCE_NAMES_BROKERS: i16 = 10;

/// Gives, for a broker's number and its own address, the address that clients are told.
pub(super) trait Addresses {
    /// The address to go to instead of `host`:`port`.
    fn instead_of(&mut self, node: i32, host: &str, port: i32) -> (String, i32);
}

/// An answer as the client is to see it. Unchanged where it names no brokers; an error in words
/// where it cannot be read.
pub(super) fn answer(
    api: i16,
    version: i16,
    body: Bytes,
    addresses: &mut dyn Addresses,
) -> Result<Bytes, String> {
    match ApiKey::try_from(api) {
        Ok(ApiKey::Metadata) => change::<MetadataResponse>(body, version, |answer| {
            for broker in &mut answer.brokers {
                place(addresses, broker.node_id.0, &mut broker.host, &mut broker.port);
            }
        }),
        Ok(ApiKey::FindCoordinator) => change::<FindCoordinatorResponse>(body, version, |answer| {
            place(addresses, answer.node_id.0, &mut answer.host, &mut answer.port);
            for found in &mut answer.coordinators {
                place(addresses, found.node_id.0, &mut found.host, &mut found.port);
            }
        }),
        Ok(ApiKey::DescribeCluster) => change::<DescribeClusterResponse>(body, version, |answer| {
            for broker in &mut answer.brokers {
                place(addresses, broker.broker_id.0, &mut broker.host, &mut broker.port);
            }
        }),
        Ok(ApiKey::Produce) if version >= PRODUCE_NAMES_BROKERS => {
            change::<ProduceResponse>(body, version, |answer| {
                for node in &mut answer.node_endpoints {
                    place(addresses, node.node_id.0, &mut node.host, &mut node.port);
                }
            })
        }
        Ok(ApiKey::ApiVersions) => api_versions(body, version),
        _ => Ok(body),
    }
}

/// A broker that does not know the version that it is asked in answers in version 0.
fn api_versions(body: Bytes, version: i16) -> Result<Bytes, String> {
    let limit = |answer: &mut ApiVersionsResponse| {
        for api in &mut answer.api_keys {
            if api.api_key == ApiKey::Fetch as i16 {
                api.max_version = api.max_version.min(FETCH_MAX);
            }
        }
    };
    change(body.clone(), version, limit).or_else(|_| change(body, 0, limit))
}

fn place(addresses: &mut dyn Addresses, node: i32, host: &mut StrBytes, port: &mut i32) {
    // An answer without a broker (an error) has an empty host.
    if !host.is_empty() {
        let (told, number) = addresses.instead_of(node, host, *port);
        *host = StrBytes::from_string(told);
        *port = number;
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn change<R: Decodable + Encodable + HeaderVersion>(
    mut body: Bytes,
    version: i16,
    alter: impl FnOnce(&mut R),
) -> Result<Bytes, String> {
    let header_version = R::header_version(version);
    let header = ResponseHeader::decode(&mut body, header_version).map_err(words)?;
    let mut answer = R::decode(&mut body, version).map_err(words)?;
    if !body.is_empty() {
        return Err(format!("{} bytes behind the end of an answer", body.len()));
    }
    alter(&mut answer);
    let mut written = BytesMut::new();
    header.encode(&mut written, header_version).map_err(words)?;
    answer.encode(&mut written, version).map_err(words)?;
    Ok(written.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        BrokerId, api_versions_response::ApiVersion,
        describe_cluster_response::DescribeClusterBroker, find_coordinator_response::Coordinator,
        metadata_response::MetadataResponseBroker, produce_response::NodeEndpoint,
    };

    use super::*;

    struct Moved(Vec<(i32, String)>);

    impl Addresses for Moved {
        fn instead_of(&mut self, node: i32, host: &str, port: i32) -> (String, i32) {
            self.0.push((node, format!("{host}:{port}")));
            ("proxy".to_owned(), 7000 + node)
        }
    }

    fn encode<R: Encodable + HeaderVersion>(answer: &R, version: i16) -> Bytes {
        let mut body = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(5);
        header.encode(&mut body, R::header_version(version)).unwrap();
        answer.encode(&mut body, version).unwrap();
        body.freeze()
    }

    fn decode<R: Decodable + HeaderVersion>(mut body: Bytes, version: i16) -> R {
        let header = ResponseHeader::decode(&mut body, R::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 5);
        R::decode(&mut body, version).unwrap()
    }

    fn host() -> StrBytes {
        StrBytes::from_static_str("broker")
    }

    #[test]
    fn metadata_of_every_version_names_the_proxy() {
        for version in 0..=13 {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(2))
                .with_host(host())
                .with_port(9092);
            let body = encode(&MetadataResponse::default().with_brokers(vec![broker]), version);
            let mut moved = Moved(Vec::new());
            let body = answer(ApiKey::Metadata as i16, version, body, &mut moved).unwrap();
            let told: MetadataResponse = decode(body, version);
            assert_eq!((&*told.brokers[0].host, told.brokers[0].port), ("proxy", 7002));
            assert_eq!(moved.0, [(2, "broker:9092".to_owned())]);
        }
    }

    #[test]
    fn coordinators_are_behind_the_proxy_in_both_forms_and_missing_ones_stay_missing() {
        let one = FindCoordinatorResponse::default()
            .with_node_id(BrokerId(1))
            .with_host(host())
            .with_port(9092);
        let mut moved = Moved(Vec::new());
        let api = ApiKey::FindCoordinator as i16;
        let told: FindCoordinatorResponse =
            decode(answer(api, 2, encode(&one, 2), &mut moved).unwrap(), 2);
        assert_eq!((&*told.host, told.port), ("proxy", 7001));
        let found = Coordinator::default().with_node_id(BrokerId(3)).with_host(host());
        let several = FindCoordinatorResponse::default()
            .with_coordinators(vec![found, Coordinator::default()]);
        let told: FindCoordinatorResponse =
            decode(answer(api, 4, encode(&several, 4), &mut moved).unwrap(), 4);
        assert_eq!(&*told.coordinators[0].host, "proxy");
        assert_eq!(&*told.coordinators[1].host, "");
        assert_eq!(moved.0.len(), 2);
    }

    #[test]
    fn clusters_and_new_leaders_are_behind_the_proxy() {
        let broker = DescribeClusterBroker::default().with_host(host()).with_port(1);
        let cluster = DescribeClusterResponse::default().with_brokers(vec![broker]);
        let mut moved = Moved(Vec::new());
        let body = encode(&cluster, 1);
        let body = answer(ApiKey::DescribeCluster as i16, 1, body, &mut moved).unwrap();
        assert_eq!(&*decode::<DescribeClusterResponse>(body, 1).brokers[0].host, "proxy");

        let node = NodeEndpoint::default().with_node_id(BrokerId(1)).with_host(host());
        let produced = ProduceResponse::default().with_node_endpoints(vec![node]);
        let body = encode(&produced, 10);
        let body = answer(ApiKey::Produce as i16, 10, body, &mut moved).unwrap();
        assert_eq!(&*decode::<ProduceResponse>(body, 10).node_endpoints[0].host, "proxy");
    }

    #[test]
    fn clients_are_told_of_no_fetch_that_names_brokers() {
        let api =
            |key: ApiKey, max| ApiVersion::default().with_api_key(key as i16).with_max_version(max);
        let all = ApiVersionsResponse::default()
            .with_api_keys(vec![api(ApiKey::Fetch, 18), api(ApiKey::Metadata, 13)]);
        // Asked in version 3, and answered in 0 by a broker that does not know version 3.
        for (asked, answered) in [(3, 3), (3, 0), (0, 0)] {
            let body = encode(&all, answered);
            let body =
                answer(ApiKey::ApiVersions as i16, asked, body, &mut Moved(Vec::new())).unwrap();
            let told: ApiVersionsResponse = decode(body, answered);
            let max: Vec<i16> = told.api_keys.iter().map(|api| api.max_version).collect();
            assert_eq!(max, [15, 13], "asked {asked}, answered {answered}");
        }
    }

    #[test]
    fn other_answers_are_left_alone_and_damaged_ones_are_refused() {
        let mut moved = Moved(Vec::new());
        let bytes = Bytes::from_static(b"whatever");
        assert_eq!(answer(ApiKey::Fetch as i16, 12, bytes.clone(), &mut moved), Ok(bytes.clone()));
        assert_eq!(answer(999, 0, bytes.clone(), &mut moved), Ok(bytes.clone()));
        assert!(answer(ApiKey::Metadata as i16, 9, bytes, &mut moved).is_err());
    }
}
