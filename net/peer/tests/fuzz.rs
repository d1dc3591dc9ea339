//! Arbitrary bytes never panic and never take more memory than a frame may have.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../../engine/tests/fuzz/mod.rs"]
#[allow(clippy::print_stdout, unreachable_pub)]
mod fuzz;

use bytes::Bytes;
use reeve_peer::{
    Encoder, FrameKind, FrameReader, Hello, Lane, Local, Output, Refusal, Standing, Welcome,
    decode_message, judge,
};
use reeve_raft::{Body, Entry, EntryKind, LogPoint, Message};

const LIMIT: usize = 64 << 10;

fn local() -> Local {
    Local {
        cluster: 1,
        member: 2,
        process: 3,
        format: 1,
        release: "0.1.0".to_owned(),
    }
}

fn append() -> Message {
    let entry = |index| Entry {
        term: 2,
        index,
        kind: EntryKind::Command,
        data: Bytes::from_static(b"some command"),
    };
    Message {
        from: 1,
        to: 2,
        term: 3,
        body: Body::Append {
            previous: LogPoint { index: 4, term: 2 },
            entries: (5..9).map(entry).collect(),
            commit: 4,
        },
    }
}

fn frames(fill: impl FnOnce(&mut Output)) -> Vec<u8> {
    let mut output = Output::default();
    fill(&mut output);
    output.to_vec()
}

fn content(fill: impl FnOnce(&mut Output)) -> Vec<u8> {
    frames(fill)[reeve_peer::HEADER_BYTES..].to_vec()
}

#[test]
fn streams_of_bytes() {
    let mut seeds = vec![
        frames(|output| Encoder::default().push_message(&append(), output)),
        frames(|output| Refusal::UnknownMember { member: 7 }.push(output)),
        frames(|output| output.push_frame(FrameKind::Ping, &Bytes::from_static(b"12345678"))),
    ];
    seeds.push(seeds.concat());
    fuzz::run("streams_of_bytes", &seeds, |input| {
        let mut reader = FrameReader::new(LIMIT);
        let mut frames = 0;
        for mut piece in input.chunks(37) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(frame)) => {
                        assert!(frame.content.len() <= input.len());
                        frames += 1;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        return 100 + u64::from(error.to_string().as_bytes()[0]) + frames * 1000;
                    }
                }
            }
            assert!(piece.is_empty());
        }
        // What was announced and did not come takes no room.
        assert!(reader.held_bytes() <= 2 * input.len() + (256 << 10));
        frames
    });
}

#[test]
fn contents_of_frames() {
    let urls = vec!["http://10.0.0.1:2380".to_owned(), "unix:x".to_owned()];
    let hello = Hello::new(&local(), 9, Lane::Bulk).with_peer_urls(urls);
    let here = Local {
        member: 9,
        ..local()
    };
    let welcome = judge(&hello, &here, Standing::Member).unwrap();
    let seeds = [
        content(|output| Encoder::default().push_message(&append(), output)),
        content(|output| Refusal::UnknownMember { member: 7 }.push(output)),
        content(|output| welcome.push(output)),
        frames(|output| hello.push(output))[reeve_peer::MAGIC.len() + reeve_peer::HEADER_BYTES..]
            .to_vec(),
    ];
    fuzz::run("contents_of_frames", &seeds, |input| {
        let bytes = Bytes::copy_from_slice(input);
        let mut kind = 0;
        if let Ok(message) = decode_message(&bytes) {
            // What was understood can be said again.
            let mut output = Output::default();
            Encoder::default().push_message(&message, &mut output);
            kind |= 1;
        }
        kind |= u64::from(Refusal::read(input).is_ok()) << 1;
        kind |= u64::from(Welcome::read(input, &hello).is_ok()) << 2;
        if let Ok(hello) = Hello::read(input) {
            kind |= 8;
            let _ = judge(&hello, &here, Standing::Member);
        }
        kind
    });
}

#[test]
fn a_huge_announcement_is_refused_and_a_large_one_takes_no_room() {
    let mut frame =
        frames(|output| output.push_frame(FrameKind::Parcel, &Bytes::from_static(b"x")));
    frame[..4].copy_from_slice(&(LIMIT as u32 + 1).to_le_bytes());
    let refused = FrameReader::new(LIMIT).next(&mut &frame[..]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("frame of {} bytes, {LIMIT} are allowed", LIMIT + 1)
    );
    frame[..4].copy_from_slice(&(1_u32 << 31).to_le_bytes());
    let mut reader = FrameReader::new(usize::MAX);
    assert_eq!(reader.next(&mut &frame[..]), Ok(None));
    assert!(reader.held_bytes() <= 256 << 10, "{}", reader.held_bytes());
}

#[test]
fn each_changed_byte_and_each_cut_is_noticed() {
    let whole = frames(|output| Encoder::default().push_message(&append(), output));
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x20;
        let outcome = FrameReader::new(LIMIT).next(&mut &changed[..]);
        assert!(
            matches!(outcome, Err(_) | Ok(None)),
            "byte {place}: {outcome:?}"
        );
        let cut = FrameReader::new(LIMIT).next(&mut &whole[..place]);
        assert_eq!(cut, Ok(None), "cut at {place}");
    }
}
