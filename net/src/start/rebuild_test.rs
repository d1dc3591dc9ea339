//! What a rebuild goes by, and what it does to the directories.

use super::*;

fn config(own: &str) -> Config {
    Config {
        name: "b".to_owned(),
        initial_cluster: "a=http://127.0.0.1:1,b=http://127.0.0.1:2".to_owned(),
        initial_advertise_peer_urls: vec![Url::parse(own).unwrap()],
        ..Config::default()
    }
}

fn member(id: u64, url: &str) -> MemberRecord {
    MemberRecord {
        peer_urls: vec![url.to_owned()],
        ..MemberRecord::bare(id)
    }
}

fn entrance(peers: Vec<MemberRecord>) -> Entrance {
    Entrance {
        cluster: 7,
        member: 2,
        founders: Vec::new(),
        peers,
        rebuilt: Some(Rebuilt::Voter),
    }
}

#[test]
fn others_are_those_of_the_flags_and_of_the_note() {
    let noted = entrance(vec![
        member(1, "http://127.0.0.1:1"),
        member(2, "http://127.0.0.1:2"),
        member(3, "http://127.0.0.1:3"),
    ]);
    let urls = peer_urls(&config("http://127.0.0.1:2"), Some(&noted)).unwrap();
    assert_eq!(texts(&urls), ["http://127.0.0.1:1", "http://127.0.0.1:3"]);
    let alone = Config {
        initial_cluster: "b=http://127.0.0.1:2".to_owned(),
        ..config("http://127.0.0.1:2")
    };
    let refused = peer_urls(&alone, None).unwrap_err();
    assert!(refused.contains("--initial-cluster"), "{refused}");
}

#[test]
fn the_own_record_is_found_by_its_addresses_and_never_guessed() {
    let remote = RemoteCluster::of_test(
        7,
        vec![
            member(1, "http://127.0.0.1:1"),
            member(2, "http://127.0.0.1:2"),
        ],
    );
    let own = |url: &str, known| {
        let config = config(url);
        find_own(&config, &remote, known).map(|found| found.map(|it| it.id))
    };
    assert_eq!(own("http://localhost:2", None), Ok(Some(2)));
    assert_eq!(
        own("http://127.0.0.1:9", Some(5)),
        Ok(None),
        "it was removed"
    );
    let moved = own("http://127.0.0.1:9", Some(2)).unwrap_err();
    assert!(moved.contains("http://127.0.0.1:2"), "{moved}");
    let stranger = own("http://127.0.0.1:9", None).unwrap_err();
    assert!(
        stranger.contains("--initial-advertise-peer-urls"),
        "{stranger}"
    );
}

#[test]
fn directories_are_kept_aside_and_the_note_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (data, wal) = (folder.path().join("data"), folder.path().join("wal"));
    std::fs::create_dir_all(data.join("member.new/old")).unwrap();
    std::fs::create_dir_all(data.join("member")).unwrap();
    std::fs::create_dir_all(&wal).unwrap();
    std::fs::write(data.join("member/reeve.pages"), b"damaged").unwrap();
    std::fs::write(wal.join("segment"), b"damaged").unwrap();
    let entrance = entrance(vec![member(1, "http://127.0.0.1:1")]);
    let aside = put_aside(&data, Some(&wal), &entrance).unwrap();
    assert_eq!(std::fs::read(aside[0].join("segment")).unwrap(), b"damaged");
    assert_eq!(
        std::fs::read(aside[1].join("reeve.pages")).unwrap(),
        b"damaged"
    );
    assert!(!wal.exists() && !data.join("member.new").exists());
    let noted = Entrance::noted(&data.join("member")).unwrap();
    assert_eq!(noted, Some(entrance));
    assert!(DataDirectory::is_fresh(&data, Some(&wal)));
}
