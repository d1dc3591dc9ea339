//! Every message and every greeting comes back as it left, however the bytes are cut.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use reeve_peer::{
    Encoder, Frame, FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, Lane, Local, MAGIC, Output,
    Refusal, Standing, Welcome, decode_message, judge,
};
use reeve_raft::{
    Body, ConfigurationState, Entry, EntryKind, LogPoint, Message, ReadContext, SnapshotPoint,
};

const LIMIT: usize = 1 << 22;

fn point() -> impl Strategy<Value = LogPoint> {
    (0..u64::MAX / 2, any::<u64>()).prop_map(|(index, term)| LogPoint { index, term })
}

fn context() -> impl Strategy<Value = ReadContext> {
    (any::<u64>(), any::<u64>()).prop_map(|(incarnation, number)| ReadContext {
        incarnation,
        number,
    })
}

/// Short, and now and then so long that it is not copied.
fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..400),
        1 => (any::<u8>(), 8_000..40_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
    .prop_map(Bytes::from)
}

fn entry_kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        Just(EntryKind::Command),
        Just(EntryKind::Empty),
        Just(EntryKind::Configuration)
    ]
}

fn append() -> impl Strategy<Value = Body> {
    let entries = vec((any::<u64>(), entry_kind(), data()), 0..20);
    (point(), entries, any::<u64>()).prop_map(|(previous, entries, commit)| {
        let entry = |(index, (term, kind, data))| Entry {
            term,
            index,
            kind,
            data,
        };
        let entries = (previous.index + 1..).zip(entries).map(entry);
        Body::Append {
            previous,
            entries: entries.collect(),
            commit,
        }
    })
}

fn snapshot() -> impl Strategy<Value = Body> {
    (point(), 1_u64..9, 0_u64..5).prop_map(|(point, voters, learners)| {
        let configuration =
            ConfigurationState::new(1..=voters, voters + 1..=voters + learners).unwrap();
        Body::Snapshot {
            point: SnapshotPoint {
                point,
                configuration,
            },
        }
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => point().prop_map(|last| Body::PreVote { last }),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(campaign_term, granted)| Body::PreVoteResponse {
            campaign_term,
            granted
        }),
        1 => (point(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        1 => any::<bool>().prop_map(|granted| Body::VoteResponse { granted }),
        4 => append(),
        1 => any::<u64>().prop_map(|index| Body::AppendResponse { index }),
        1 => (any::<u64>(), point()).prop_map(|(previous, hint)| Body::AppendRejected { previous, hint }),
        1 => any::<u64>().prop_map(|round| Body::Heartbeat { round }),
        1 => (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(round, commit, matched)| Body::HeartbeatResponse {
            round,
            commit,
            matched
        }),
        1 => point().prop_map(|point| Body::Commit { point }),
        1 => snapshot(),
        1 => Just(Body::TimeoutNow),
        1 => context().prop_map(|context| Body::ReadIndex { context }),
        1 => (context(), any::<u64>()).prop_map(|(context, index)| Body::ReadIndexResponse { context, index }),
        2 => (any::<u64>(), entry_kind(), vec(data(), 0..20))
            .prop_map(|(id, kind, data)| Body::Propose { id, kind, data }),
        1 => any::<u64>().prop_map(|id| Body::ProposeRefused { id }),
        1 => Just(Body::NewerTerm),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<u64>(), any::<u64>(), any::<u64>(), body()).prop_map(|(from, to, term, body)| Message {
        from,
        to,
        term,
        body,
    })
}

fn local() -> impl Strategy<Value = Local> {
    (
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        "[a-z0-9.]{0,20}",
    )
        .prop_map(|(cluster, member, process, format, release)| Local {
            cluster,
            member,
            process,
            format,
            release,
        })
}

/// Reads `bytes` in pieces of these lengths, over and over.
fn read(bytes: &[u8], cuts: &[usize]) -> Vec<Frame> {
    let mut reader = FrameReader::new(LIMIT);
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts
            .next()
            .map_or(rest.len(), |cut| *cut)
            .clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(cut);
        rest = after;
        while let Some(frame) = reader.next(&mut piece).unwrap() {
            frames.push(frame);
        }
        assert!(piece.is_empty());
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn messages(messages in vec(message(), 1..6), cuts in vec(1..5_000_usize, 0..5)) {
        let (mut encoder, mut output) = (Encoder::default(), Output::default());
        for message in &messages {
            encoder.push_message(message, &mut output);
        }
        let bytes = output.to_vec();
        prop_assert_eq!(bytes.len(), output.len());
        let frames = read(&bytes, &cuts);
        prop_assert_eq!(frames.len(), messages.len());
        for (frame, message) in frames.iter().zip(&messages) {
            prop_assert_eq!(frame.kind, FrameKind::Message);
            prop_assert_eq!(&decode_message(&frame.content).unwrap(), message);
        }
    }

    #[test]
    fn what_is_written_in_parts_is_what_was_put_in(
        contents in vec(data(), 1..10),
        parts in vec(1..9_000_usize, 1..9),
    ) {
        let mut output = Output::default();
        let mut written = Vec::new();
        let mut parts = parts.into_iter().cycle();
        for content in &contents {
            output.push_frame(FrameKind::Parcel, content);
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let count = output.slices(&mut slices);
            let mut room = parts.next().unwrap();
            let before = written.len();
            for slice in &slices[..count] {
                let now = room.min(slice.len());
                written.extend_from_slice(&slice[..now]);
                room -= now;
            }
            output.advance(written.len() - before);
        }
        written.extend_from_slice(&output.to_vec());
        let frames = read(&written, &[]);
        let arrived: Vec<Bytes> = frames.into_iter().map(|frame| frame.content).collect();
        prop_assert_eq!(arrived, contents);
    }

    #[test]
    fn greetings(
        from in local(),
        here in local(),
        prompt in any::<bool>(),
        urls in vec("http://[a-z]{1,20}:[1-9][0-9]{3}", 0..9),
    ) {
        let lane = if prompt { Lane::Prompt } else { Lane::Bulk };
        let here = Local { cluster: from.cluster, ..here };
        let hello = Hello::new(&from, here.member, lane).with_peer_urls(urls);
        let mut output = Output::default();
        hello.push(&mut output);
        let bytes = output.to_vec();
        prop_assert!(bytes.starts_with(MAGIC));
        let frames = read(&bytes[MAGIC.len()..], &[7]);
        prop_assert_eq!(Hello::read(&frames[0].content).unwrap(), hello.clone());
        prop_assume!(from.member != here.member);
        let welcome = judge(&hello, &here, Standing::Member).unwrap();
        let mut output = Output::default();
        welcome.push(&mut output);
        let frames = read(&output.to_vec(), &[]);
        prop_assert_eq!(Welcome::read(&frames[0].content, &hello).unwrap(), welcome);
    }
}

#[test]
fn refusals_come_back_and_name_what_differs() {
    let here = Local {
        cluster: 7,
        member: 1,
        process: 11,
        format: 1,
        release: "0.1".to_owned(),
    };
    let there = Local {
        member: 2,
        process: 22,
        ..here.clone()
    };
    let right = Hello::new(&there, 1, Lane::Bulk);
    assert!(judge(&right, &here, Standing::Member).is_ok());
    let mut other_cluster = right.clone();
    other_cluster.from.cluster = 0xabc;
    let mut later = right.clone();
    (later.protocol_oldest, later.protocol_newest) = (8, 9);
    let mut own_id = right.clone();
    own_id.from.member = 1;
    let elsewhere = Hello {
        to: 5,
        ..right.clone()
    };
    let cases = [
        (
            &other_cluster,
            Standing::Member,
            "cluster ID mismatch: the dialling member is of cluster abc",
        ),
        (
            &later,
            Standing::Member,
            "the newest of the dialling member is 9",
        ),
        (&own_id, Standing::Member, "the same member runs twice"),
        (
            &elsewhere,
            Standing::Member,
            "member 5 was dialled, but member 1 listens",
        ),
        (&right, Standing::Unknown, "member 2 is not in the cluster"),
        (
            &right,
            Standing::Removed,
            "member 2 has been permanently removed",
        ),
        (
            &right,
            Standing::Doubled,
            "another process is connected as member 2",
        ),
    ];
    for (hello, standing, text) in cases {
        let refusal = judge(hello, &here, standing).unwrap_err();
        assert!(refusal.to_string().contains(text), "{refusal}");
        let mut output = Output::default();
        refusal.push(&mut output);
        let frames = read(&output.to_vec(), &[]);
        assert_eq!(frames[0].kind, FrameKind::Refusal);
        assert_eq!(Refusal::read(&frames[0].content).unwrap(), refusal);
    }
}

#[test]
fn peer_urls_are_said_as_far_as_there_is_room() {
    let from = Local {
        cluster: 7,
        member: 1,
        process: 11,
        format: 1,
        release: "r".repeat(200),
    };
    let urls: Vec<String> = (0..100)
        .map(|number| format!("https://host-{number}.example:2380"))
        .collect();
    let hello = Hello::new(&from, 2, Lane::Prompt).with_peer_urls(urls.clone());
    let mut output = Output::default();
    hello.push(&mut output);
    let frames = read(&output.to_vec()[MAGIC.len()..], &[]);
    let content = &frames[0].content;
    assert!(content.len() <= HANDSHAKE_BYTES, "{}", content.len());
    let heard = Hello::read(content).unwrap().peer_urls;
    assert!(heard.len() > 10 && urls.starts_with(&heard), "{heard:?}");
}

#[test]
fn a_later_build_with_a_version_in_common_is_welcome() {
    let here = Local {
        cluster: 7,
        member: 1,
        process: 11,
        format: 1,
        release: String::new(),
    };
    let mut from = here.clone();
    from.member = 2;
    from.format = 2;
    let mut hello = Hello::new(&from, 1, Lane::Prompt);
    hello.protocol_newest = 9;
    assert_eq!(judge(&hello, &here, Standing::Member).unwrap().protocol, 1);
}
