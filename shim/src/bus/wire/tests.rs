use handlers::channel::ChannelName;
use handlers::id::LocalName;

use super::*;

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn lobby() -> Channel {
    ChannelName::Room(LocalName::parse("lobby").unwrap()).in_tenant(tenant())
}

fn placement(channel: Channel) -> Placement {
    Placement { channel, position: Position { epoch: Epoch("e7".into()), offset: Offset(42) } }
}

fn payload(records: &[BytesMut]) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    begin_payload(&mut buffer, 7);
    records.iter().for_each(|record| buffer.extend_from_slice(record));
    buffer.to_vec()
}

fn samples() -> Vec<BytesMut> {
    let out = |priority, placement| OutgoingFrame { frame: "{\"ä\":1}".into(), priority, placement };
    let audiences = [
        (Audience::Connection(ConnectionId::parse("L0SM9cOFvHcCIhw=").unwrap()), Priority::Control, None),
        (Audience::User(tenant(), UserId::parse("a@b").unwrap()), Priority::Direct, Some(placement(lobby()))),
        (Audience::Role(tenant(), Role::Admin), Priority::Ephemeral, None),
        (Audience::Channel(lobby()), Priority::Broadcast, Some(placement(lobby()))),
    ];
    let mut samples: Vec<_> = audiences
        .into_iter()
        .zip(0..)
        .map(|((audience, priority, placement), group_index)| {
            frame_record(&audience, group_index, &out(priority, placement))
        })
        .collect();
    let deliver = PeerOperation::deliver_to("L0SM9cOFvHcCIhw=".into(), Priority::Direct, Some(placement(lobby())));
    samples.push(request_record(9, &deliver, b"text"));
    samples.push(reply_record(9, &PeerReply::HeadAdvanced { offset: Offset(3) }));
    samples.push(heartbeat_record());
    samples
}

#[test]
fn a_payload_survives_encoding_and_decoding() {
    let payload = payload(&samples());
    let (origin, records) = read_payload(&payload).unwrap();
    let records: Vec<_> = records.collect::<Result<_, _>>().unwrap();
    assert_eq!((origin, records.len()), (7, 7));
    let BusRecord::Frame(frame) = &records[1] else { panic!("the second is a frame") };
    assert_eq!(frame.audience, Audience::User(tenant(), UserId::parse("a@b").unwrap()));
    assert_eq!((frame.group_index, frame.priority, frame.text), (1, Priority::Direct, "{\"ä\":1}"));
    assert_eq!(frame.placement, Some(placement(lobby())));
    let BusRecord::Frame(frame) = &records[3] else { panic!("the fourth is a frame") };
    assert_eq!((&frame.audience, &frame.placement), (&Audience::Channel(lobby()), &Some(placement(lobby()))));
    let BusRecord::Request { id: 9, operation, text: "text" } = &records[4] else { panic!("the fifth is a request") };
    assert_eq!(operation.connection_id(), "L0SM9cOFvHcCIhw=");
    assert_eq!(records[5], BusRecord::Reply { id: 9, reply: PeerReply::HeadAdvanced { offset: Offset(3) } });
    assert_eq!(records[6], BusRecord::Heartbeat);
}

#[test]
fn a_placed_room_message_has_a_small_overhead() {
    let outgoing =
        OutgoingFrame { frame: "".into(), priority: Priority::Broadcast, placement: Some(placement(lobby())) };
    let record = frame_record(&Audience::Channel(lobby()), 0, &outgoing);
    assert_eq!(record.len(), 5 + 2 + 3 + "acme/room:lobby".len() + 1 + 2 + "e7".len() + 8);
}

#[test]
fn another_version_is_rejected_and_an_unknown_kind_is_skipped() {
    let mut unknown = begin_record(200, 0);
    unknown.extend_from_slice(b"from the future");
    let mut bytes = payload(&[end_record(unknown), heartbeat_record()]);
    let records: Vec<_> = read_payload(&bytes).unwrap().1.collect();
    assert_eq!(records, [Ok(BusRecord::Heartbeat)]);
    bytes[0] = WIRE_VERSION + 1;
    assert!(read_payload(&bytes).is_err());
}

#[test]
fn a_malformed_record_does_not_hide_the_next() {
    let mut record = samples().remove(0);
    record[5] = 9;
    let bytes = payload(&[record, heartbeat_record()]);
    let records: Vec<_> = read_payload(&bytes).unwrap().1.collect();
    assert_eq!(records, [Err(MalformedPayloadError), Ok(BusRecord::Heartbeat)]);
}

#[test]
fn text_that_is_not_utf_8_is_rejected() {
    let outgoing = OutgoingFrame { frame: vec![0xff_u8, 0xfe].into(), priority: Priority::Direct, placement: None };
    let bytes = payload(&[frame_record(&Audience::Channel(lobby()), 0, &outgoing)]);
    assert_eq!(read_payload(&bytes).unwrap().1.next(), Some(Err(MalformedPayloadError)));
}

#[test]
fn malformed_payloads_never_cause_a_panic() {
    let whole = payload(&samples());
    let read = |bytes: &[u8]| read_payload(bytes).map_or(0, |(_, records)| records.filter(Result::is_ok).count());
    for end in 0..whole.len() {
        read(&whole[..end]);
    }
    // Every byte takes every value once, including lengths, tags and UTF-8 sequences.
    let mut bytes = whole.clone();
    for index in 0..whole.len() {
        for value in 0..=u8::MAX {
            bytes[index] = value;
            assert!(read(&bytes) <= 8);
        }
        bytes[index] = whole[index];
    }
    assert_eq!(read(&bytes), 7);
}
