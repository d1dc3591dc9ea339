//! What a rebuild goes by, what it asks for, and what it does to the directories.

use super::others::{Step, change, next_step};
use super::past::Log;
use super::*;
use crate::client::ClientError;
use reeve_engine::wal::Identity;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tonic::Status;

const OWN: &str = "http://127.0.0.1:2";

fn config(own: &str) -> Config {
    Config {
        name: "b".to_owned(),
        initial_cluster: format!("a=http://127.0.0.1:1,b={OWN}"),
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

/// A voter that has started.
fn voter(id: u64) -> MemberRecord {
    MemberRecord {
        name: format!("m{id}"),
        ..member(id, OWN)
    }
}

/// A learner that has started.
fn learner(id: u64) -> MemberRecord {
    MemberRecord {
        learner: true,
        ..voter(id)
    }
}

/// A learner that has not started.
fn waiting(id: u64) -> MemberRecord {
    MemberRecord {
        name: String::new(),
        ..learner(id)
    }
}

/// A note of the member `id` of cluster 7.
fn note(id: u64, rebuilt: Option<Rebuilt>) -> Entrance {
    Entrance {
        cluster: 7,
        member: id,
        founders: Vec::new(),
        peers: Vec::new(),
        rebuilt,
        begun: true,
    }
}

fn log_of(member_id: u64) -> Log {
    Log::Of(Identity {
        cluster_id: 7,
        member_id,
    })
}

fn past(log: Log, noted: Option<Entrance>, pending: Option<Entrance>) -> Past {
    Past {
        log,
        noted,
        pending,
    }
}

#[test]
fn others_are_those_of_the_flags_and_of_the_note() {
    let noted = Entrance {
        peers: vec![
            member(1, "http://127.0.0.1:1"),
            member(2, OWN),
            member(3, "http://127.0.0.1:3"),
        ],
        ..note(2, None)
    };
    let known = past(Log::Missing, Some(noted), None);
    let urls = peer_urls(&config(OWN), known.peers()).unwrap();
    assert_eq!(texts(&urls), ["http://127.0.0.1:1", "http://127.0.0.1:3"]);
    let alone = Config {
        initial_cluster: format!("b={OWN}"),
        ..config(OWN)
    };
    let refused = peer_urls(&alone, std::iter::empty()).unwrap_err();
    assert!(refused.contains("--initial-cluster"), "{refused}");
}

#[test]
fn the_own_record_is_found_by_its_addresses_and_never_guessed() {
    let members = [member(1, "http://127.0.0.1:1"), member(2, OWN)];
    let own = |url: &str, known| {
        find_own(&members, &[url.to_owned()], known).map(|found| found.map(|it| it.id))
    };
    assert_eq!(own("http://localhost:2", None), Ok(Some(2)));
    assert_eq!(
        own("http://127.0.0.1:9", Some(5)),
        Ok(None),
        "it was removed"
    );
    let moved = own("http://127.0.0.1:9", Some(2)).unwrap_err();
    assert!(moved.contains(OWN), "{moved}");
    let stranger = own("http://127.0.0.1:9", None).unwrap_err();
    assert!(
        stranger.contains("--initial-advertise-peer-urls"),
        "{stranger}"
    );
}

#[test]
fn who_has_taken_the_place_over_and_serves_is_left_alone() {
    let own = |member: MemberRecord, known| {
        let members = [member];
        find_own(&members, &[OWN.to_owned()], known).map(|found| found.map(|it| it.id))
    };
    let refused = own(voter(9), Some(2)).unwrap_err();
    assert!(refused.contains("Nothing was changed"), "{refused}");
    assert_eq!(own(voter(9), Some(9)), Ok(Some(9)));
    assert_eq!(own(voter(9), None), Ok(Some(9)));
    assert_eq!(own(waiting(9), Some(2)), Ok(Some(9)));
}

#[test]
fn a_member_is_known_by_its_log_or_else_by_what_is_noted() {
    let (noted, planned) = (Some(note(3, None)), Some(note(4, None)));
    let known = |log, noted: &Option<Entrance>, pending: &Option<Entrance>| {
        past(log, noted.clone(), pending.clone()).known(7)
    };
    assert_eq!(known(log_of(2), &noted, &planned), Ok(Some(2)));
    assert_eq!(known(Log::Unreadable, &noted, &planned), Ok(Some(3)));
    assert_eq!(known(Log::Unreadable, &None, &planned), Ok(Some(4)));
    assert_eq!(known(Log::Missing, &None, &None), Ok(None));
    let other = past(log_of(2), None, None).known(8).unwrap_err();
    assert!(other.contains("cluster 7"), "{other}");
}

#[test]
fn an_id_is_taken_only_by_who_has_never_run_under_it() {
    let planned = || Some(note(2, Some(Rebuilt::Voter)));
    let unused = Entrance {
        begun: false,
        ..note(9, Some(Rebuilt::Voter))
    };
    // Called again after the addition, the old data still in place.
    assert!(past(log_of(2), Some(note(2, None)), planned()).never_was(9));
    // Damaged again while it caught up.
    assert!(!past(log_of(9), Some(note(9, None)), None).never_was(9));
    assert!(!past(Log::Unreadable, None, planned()).never_was(9));
    assert!(!past(Log::Missing, Some(note(9, None)), None).never_was(9));
    assert!(!past(Log::Missing, Some(note(9, None)), planned()).never_was(9));
    // An earlier call was about to replace it, and could not.
    assert!(!past(Log::Missing, None, Some(note(9, None))).never_was(9));
    assert!(past(Log::Missing, None, Some(unused.clone())).never_was(9));
    // A new disk: who knows what was on the old one?
    assert!(!past(Log::Missing, None, None).never_was(9));
    // A new disk, and called again.
    assert!(past(Log::Missing, None, planned()).never_was(9));
    // All was done; only the start is missing.
    let placed = past(Log::Missing, Some(unused), None);
    assert!(placed.never_was(9) && placed.is_placed(9));
    assert!(!placed.is_placed(8));
}

#[test]
fn a_vote_is_for_those_who_had_one() {
    let none = || past(log_of(2), Some(note(2, None)), None);
    assert_eq!(none().role(Some(&voter(2))), Rebuilt::Voter);
    assert_eq!(none().role(Some(&learner(2))), Rebuilt::Learner);
    assert_eq!(none().role(Some(&waiting(2))), Rebuilt::Learner);
    // It was rebuilt, serves as a learner, and waits for its vote.
    for (role, own) in [
        (Rebuilt::Voter, learner(2)),
        (Rebuilt::Voter, waiting(2)),
        (Rebuilt::Learner, learner(2)),
    ] {
        let rebuilt = past(Log::Unreadable, Some(note(2, Some(role))), None);
        assert_eq!(rebuilt.role(Some(&own)), role);
    }
    // An earlier call was interrupted after the addition, or after the removal.
    for role in [Rebuilt::Voter, Rebuilt::Learner] {
        let interrupted = past(log_of(2), Some(note(2, None)), Some(note(2, Some(role))));
        assert_eq!(interrupted.role(Some(&waiting(9))), role);
        assert_eq!(interrupted.role(None), role);
    }
    // The plan of a call that came to nothing says nothing of a learner that came later.
    let stale = past(
        log_of(9),
        Some(note(9, None)),
        Some(note(2, Some(Rebuilt::Voter))),
    );
    assert_eq!(stale.role(Some(&learner(9))), Rebuilt::Learner);
}

#[test]
fn who_was_removed_by_hand_has_its_vote_back_if_it_is_known_to_have_had_one() {
    let founder = Entrance {
        founders: vec![voter(2)],
        ..note(2, None)
    };
    let role = |noted| past(log_of(2), noted, None).role(None);
    assert_eq!(role(Some(founder)), Rebuilt::Voter);
    let joined = Entrance {
        peers: vec![waiting(2)],
        ..note(2, None)
    };
    assert_eq!(role(Some(joined)), Rebuilt::Learner);
    assert_eq!(role(None), Rebuilt::Learner);
}

#[test]
fn room_for_a_learner_is_looked_for_first() {
    let standing = MemberRecord {
        learner: true,
        ..member(5, "http://127.0.0.1:5")
    };
    let room = |members: &[MemberRecord], limit| check_room(members, Some(&members[0]), limit);
    assert_eq!(room(&[voter(2)], 1), Ok(()));
    assert_eq!(room(&[learner(2)], 1), Ok(()), "it makes room itself");
    assert_eq!(room(&[voter(2), standing.clone()], 2), Ok(()));
    let refused = room(&[voter(2), standing], 1).unwrap_err();
    assert!(refused.contains("Nothing was changed"), "{refused}");
}

#[test]
fn steps_follow_from_who_is_there() {
    let own = [OWN.to_owned()];
    let next = |members: &[MemberRecord], leaving| next_step(members, &own, leaving);
    assert_eq!(next(&[voter(2)], Some(2)), Ok(Step::Remove(2)));
    assert_eq!(next(&[], Some(2)), Ok(Step::Add));
    assert_eq!(next(&[waiting(9)], Some(2)), Ok(Step::Done(9)));
    assert_eq!(next(&[waiting(9)], None), Ok(Step::Done(9)));
    assert_eq!(next(&[waiting(9)], Some(9)), Ok(Step::Remove(9)));
    assert!(next(&[voter(9)], Some(2)).is_err());
}

#[test]
fn a_refusal_after_a_lost_answer_is_looked_into() {
    let refusal = |status: Status| ClientError::Refused(Box::new(status));
    let not_found = || refusal(Status::not_found("member not found"));
    assert!(change(|| Ok(())).is_ok());
    let refused = change(|| Err::<(), _>(not_found())).unwrap_err();
    assert!(refused.is_not_found(), "{refused}");
    let mut asked = 0;
    let repeated = change(|| {
        asked += 1;
        match asked {
            1 => Err::<(), _>(refusal(Status::deadline_exceeded("no answer"))),
            _ => Err(not_found()),
        }
    });
    assert!(repeated.is_ok(), "{repeated:?}");
    assert_eq!(asked, 2);
    // No answer was lost.
    let mut asked = 0;
    let mut first = Some(refusal(Status::unavailable(
        "etcdserver: unhealthy cluster",
    )));
    let refused = change(|| {
        asked += 1;
        Err::<(), _>(first.take().unwrap_or_else(not_found))
    });
    assert!(refused.unwrap_err().is_not_found());
    assert_eq!(asked, 2);
}

/// A data directory with damaged files, and a directory for the log.
fn damaged(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (data, wal) = (folder.join("data"), folder.join("wal"));
    std::fs::create_dir_all(data.join("member")).unwrap();
    std::fs::create_dir_all(wal.join("lost+found")).unwrap();
    std::fs::write(data.join("member/reeve.pages"), b"damaged").unwrap();
    std::fs::write(wal.join("0000000000000001.wal"), b"damaged").unwrap();
    (data, wal)
}

#[test]
fn directories_are_kept_aside_and_the_note_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (data, wal) = damaged(folder.path());
    let plan = note(2, Some(Rebuilt::Voter));
    let aside = Aside::prepare(&data, Some(&wal), &plan).unwrap();
    // Nothing has moved yet, and the plan is there for another call.
    assert!(!DataDirectory::is_fresh(&data, Some(&wal)));
    assert_eq!(aside::prepared(&data), Some(plan));
    settle(&data).unwrap();
    assert!(data.join("member/reeve.pages").exists());
    let entrance = Entrance {
        begun: false,
        ..note(9, Some(Rebuilt::Voter))
    };
    let kept = aside.carry_out(&entrance).unwrap();
    let content = |path: std::path::PathBuf| std::fs::read(path).unwrap();
    assert_eq!(content(kept[0].join("0000000000000001.wal")), b"damaged");
    assert_eq!(content(kept[1].join("reeve.pages")), b"damaged");
    assert!(DataDirectory::is_fresh(&data, Some(&wal)));
    assert!(wal.join("lost+found").exists() && !data.join("member.new").exists());
    let noted = Entrance::noted(&data.join("member")).unwrap();
    assert_eq!(noted, Some(entrance));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.join("member")), 0o700);
    assert_eq!(mode(&kept[0]), 0o700);
    // Again at once: nothing gets a name that is taken.
    std::fs::write(wal.join("0000000000000001.wal"), b"once more").unwrap();
    let aside = Aside::prepare(&data, Some(&wal), &note(9, None)).unwrap();
    let again = aside.carry_out(&note(10, None)).unwrap();
    assert!(
        kept.iter()
            .all(|path| path.exists() && !again.contains(path))
    );
}

#[test]
fn a_rebuild_that_ended_between_its_last_steps_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (data, next) = (folder.path(), folder.path().join("member.new"));
    std::fs::create_dir(&next).unwrap();
    note(2, Some(Rebuilt::Voter)).plan(&next).unwrap();
    settle(data).unwrap();
    assert!(!data.join("member").exists(), "a plan is not enough");
    // Nobody begins there meanwhile.
    let refused = check_unprepared(data).unwrap_err();
    assert!(refused.contains("reeve rebuild"), "{refused}");
    let entrance = note(9, Some(Rebuilt::Voter));
    entrance.note_instead_of_plan(&next).unwrap();
    settle(data).unwrap();
    assert_eq!(
        Entrance::noted(&data.join("member")).unwrap(),
        Some(entrance)
    );
    assert!(!next.exists());
    settle(data).unwrap();
    check_unprepared(data).unwrap();
    // It was interrupted before it had written anything down, so it has not changed anything either.
    std::fs::create_dir(&next).unwrap();
    check_unprepared(data).unwrap();
}

#[test]
fn what_is_mounted_is_known() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("member")).unwrap();
    let mounted = |path: &Path| aside::is_mount_point(path.parent().unwrap(), path).unwrap();
    assert!(mounted(Path::new("/proc")));
    assert!(!mounted(&folder.path().join("member")));
}

#[test]
fn what_cannot_be_put_aside_is_refused_before_anything_happens() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("member")).unwrap();
    // A file where the prepared directory goes.
    std::fs::write(data.join("member.new"), b"").unwrap();
    let plan = note(2, Some(Rebuilt::Voter));
    let refused = Aside::prepare(&data, None, &plan).unwrap_err();
    assert!(refused.contains("member.new"), "{refused}");
    // Its successor would lie on another disk.
    let linked = folder.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(data.join("member"), linked.join("member")).unwrap();
    let refused = Aside::prepare(&linked, None, &plan).unwrap_err();
    assert!(refused.contains("symbolic link"), "{refused}");
    assert!(!linked.join("member.new").exists());
    // No directory for the log.
    let wal = folder.path().join("wal");
    std::fs::write(&wal, b"").unwrap();
    let refused = Aside::prepare(&data, Some(&wal), &plan).unwrap_err();
    assert!(refused.contains("wal"), "{refused}");
}
