//! Ids: captured examples, malformed texts, uniqueness.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Captured ids from 2019 to 2026.
const CAPTURED: [&str; 12] = [
    "BFHPhFe3IAMF95g=",
    "BFHPhfCWIAMCKlQ=",
    "BFaVtfGSIAMCKug=",
    "BFaT_fALIAMCKug=",
    "PJqB0fHsqRcCHlw=",
    "R0oXAdfD0kwCH6w=",
    "e_d2EewNLPECIGw=",
    "V-M0CclhjoECETA=",
    "PbTkjcISoAMCJNQ=",
    "I9EDKGoevHcF9SA=",
    "Llf7PFSNNjMFZeA=",
    "FDmBIeapIAMCIQg=",
];

#[test]
fn id_1_captured_ids_are_well_formed() {
    for text in CAPTURED {
        assert_eq!(parse_gateway_id(text).map(|id| id.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn id_4_other_texts_are_malformed() {
    let malformed = [
        "",
        "test-connection-123",
        "550e8400-e29b-41d4-a716-446655440000",
        "BFHPhFe3IAMF95g",
        "BFHPhFe3IAMF95gg",
        "BFHPhFe3IAMF95g==",
        "BFHPhFe3IAMF9+g=",
        "BFHPhFe3IAMF9/g=",
        "BFHPhFe3IAMF95h=",
        "BFHPhFe3IAMF9 g=",
        "ÄFHPhFe3IAMF5g=",
        "===============A",
    ];
    for text in malformed {
        assert_eq!(parse_gateway_id(text), Err(GatewayIdError), "{text:?}");
    }
}

#[test]
fn id_3_message_ids_share_the_trailing_characters_and_request_ids_do_not() {
    let connection = GatewayId::for_connection(0x0123_4567_89AB_CDEF, 0xABCD);
    let mut ids = EventIds::new(connection, 1);
    let (message, request) = (ids.next_message_id(), ids.next_request_id(1_731_332_746_514));
    assert_eq!(message[11..], connection[11..]);
    assert_ne!(message, connection);
    assert_ne!(request[11..], connection[11..]);
    assert_eq!((message.raw_bytes()[8], request.raw_bytes()[8]), (2, 5));
}

#[test]
fn ids_of_events_never_repeat_within_a_tick() {
    let mut seen = HashSet::new();
    let mut ids = EventIds::new(GatewayId::for_connection(1, 3), 99);
    assert!((0..20_000).all(|_| seen.insert(ids.next_message_id()) && seen.insert(ids.next_request_id(25_024))));
    let mut at = |ms| ids.next_request_id(ms).raw_bytes();
    assert!(at(1_000_000)[..4] < at(1_000_025)[..4]);
}

#[test]
fn split_mix_64_has_the_published_sequence() {
    // First outputs for seed 0 of the reference implementation by Sebastiano Vigna.
    let expected = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
    let (shared, mut exclusive) = (SplitMix64::new(0), SplitMix64::new(0));
    assert_eq!(expected.map(|_| shared.next_u64()), expected);
    assert_eq!(expected.map(|_| exclusive.next_u64_mut()), expected);
}

proptest! {
    #[test]
    fn id_1_every_id_is_well_formed_and_carries_its_node(ms: i64, entropy: u64, node: u16, seed: u64) {
        let connection = GatewayId::for_connection(entropy, node);
        let mut ids = EventIds::new(connection, seed);
        for id in [connection, ids.next_message_id(), ids.next_request_id(ms)] {
            prop_assert_eq!(parse_gateway_id(&id), Ok(id));
        }
        prop_assert_eq!(connection.node_id(), node);
        prop_assert_eq!(ids.next_message_id().node_id(), node);
    }

    #[test]
    fn all_64_bits_of_the_entropy_are_in_the_id_and_none_in_other_ids(entropy: u64, other: u64, node: u16, seed: u64) {
        let id = |entropy| GatewayId::for_connection(entropy, node);
        prop_assert_eq!(id(entropy).raw_bytes()[..8].to_vec(), entropy.to_be_bytes());
        let (mut first, mut second) = (EventIds::new(id(entropy), seed), EventIds::new(id(other), seed));
        prop_assert_eq!(first.next_message_id(), second.next_message_id());
        prop_assert_eq!(first.next_request_id(0), second.next_request_id(0));
    }

    #[test]
    fn id_4_parsing_never_panics_and_agrees_with_the_pattern(text in "[A-Za-z0-9_=+/-]{14,17}|.{0,20}") {
        let bytes = text.as_bytes();
        let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let pattern = bytes.len() == 16 && bytes[..15].iter().all(alphabet) && bytes[15] == b'=';
        prop_assert!(pattern || parse_gateway_id(&text).is_err());
    }
}
