//! A member whose page file holds a write that no other member has. The file is what the engine writes, checksums and all:
//! nothing but comparing members can find it.

use std::path::Path;
use std::sync::Arc;

use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{Body, Encoder, Header, Put};
use reeve_engine::disk::{Operation, UringDisk};
use reeve_engine::mvcc::{Answer, Applier, ApplyTask, Budget, Events, State, Step};
use reeve_engine::pages::{MappedSource, Outcome, PageSpace, Stop, WritePlan, drive};

use super::{await_listed, run};
use crate::members::{Cluster, Plan, name};
use crate::rebuild::{await_three_voters, members, write};
use crate::support::programs;

/// How a member ends that must not go on: while it starts, and while it serves.
const STOPPED_BY_ITSELF: [Option<i32>; 2] = [Some(1), Some(126)];
/// Address space for the page file.
const RANGE_BYTES: u64 = 1 << 40;

fn patiently<T>(space: &PageSpace, mut operation: impl FnMut() -> Outcome<T>) -> T {
    loop {
        match operation() {
            Ok(done) => return done,
            Err(Stop::NeedPages(faults)) => space.bring_in(&faults).expect("the file is whole"),
            Err(stop) => panic!("{stop}"),
        }
    }
}

/// Adds a write to the page file of a member that does not run, behind the last that it has applied, and as if it had not
/// been another entry of the log.
fn write_alone(pages: &Path) {
    let mut disk = UringDisk::new().expect("a ring");
    let source = MappedSource::open(pages, RANGE_BYTES).expect("the file can be mapped");
    let options = StoreOptions::default();
    let opened = Store::open(&mut disk, pages, Box::new(source), &options, |_| true);
    let opened = opened.expect("the file can be opened");
    let mut store = opened.store;
    let space = Arc::clone(store.space());
    if let Some(request) = store.space_wanted() {
        let allocate = Operation::Allocate {
            file: opened.file,
            offset: request.offset,
            length: request.length,
        };
        drive::perform(&mut disk, allocate).expect("there is room");
        store.space_granted(request);
    }
    let mut applier = patiently(&space, || Applier::open(&store));
    let before = applier.state();
    let put = Body::Put(Put {
        key: b"nobody else has this",
        value: b"v",
        ..Put::default()
    });
    let command = Encoder::new().encode(&Header::default(), &put);
    let (index, term) = (before.applied_index, before.applied_term);
    let command = command.expect("a command");
    let mut task = ApplyTask::new(index + 1, term, &command, Answer::Unwanted).expect("a command");
    let step = patiently(&space, || {
        let mut events = Events::new();
        task.step(
            &mut applier,
            &mut store,
            &mut Budget::unlimited(),
            &mut events,
        )
    });
    assert!(matches!(step, Step::Done(_)));
    let state = State {
        applied_index: index,
        ..applier.state()
    };
    patiently(&space, || state.save(&mut store));
    store.publish();
    let plan = WritePlan {
        file: opened.file,
        token: 1,
        sync_bytes: 1 << 20,
    };
    let mut job = store
        .begin_checkpoint((index, term), plan)
        .expect("a checkpoint");
    drive::run_job(&mut disk, &mut job);
    store.finish_write_out(job).expect("it is written");
}

/// The id of a member.
fn id(cluster: &Cluster, asked: usize, member: usize) -> u64 {
    let listed = run(members(&cluster.endpoints()[asked]));
    let found = listed.iter().find(|it| it.name == name(member));
    found.expect("it is listed").id
}

#[test]
fn a_member_that_differs_is_named_and_fenced_and_comes_back_rebuilt() {
    let test = "a_member_that_differs_is_named_and_fenced_and_comes_back_rebuilt";
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster =
        Plan::new(3).start_with(|_, launch| launch.argument("--corrupt-check-time=500ms"));
    let leader = cluster.leader();
    let (differing, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let healthy = [leader, other];
    let endpoints = cluster.endpoints();
    run(write(&endpoints[leader], 0));
    let old = id(&cluster, leader, differing);
    cluster.members[differing].terminate();
    let data = cluster.members[differing].data_dir().to_path_buf();
    write_alone(&data.join("member/reeve.pages"));
    cluster.spawn_again(differing);
    run(write(&endpoints[leader], 500));

    let end = cluster.members[differing].refusal();
    assert!(STOPPED_BY_ITSELF.contains(&end.code), "{}", end.stderr);
    let told = format!("{old:x} found data inconsistency with peers");
    assert!(end.stderr.contains(&told), "{}", end.stderr);
    assert!(data.join("member/reeve.fenced").exists());
    await_listed(&mut cluster, &healthy, &[old]);
    let named = format!("member {old:x} differs from the majority of the members");
    for member in healthy {
        let lines = cluster.members[member].stderr.so_far().concat();
        assert!(lines.contains(&named), "{lines}");
    }
    // The others go on, also when they have been away.
    for member in healthy {
        run(write(&endpoints[member], 1000));
    }
    for member in healthy {
        cluster.kill(member);
    }
    for member in healthy {
        cluster.spawn_again(member);
    }
    cluster.leader();
    await_listed(&mut cluster, &healthy, &[old]);
    run(write(&endpoints[other], 1500));

    let refusal = cluster.members[differing].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("reeve rebuild"),
        "{}",
        refusal.stderr
    );
    let rebuild = cluster.members[differing].launch().subcommand("rebuild");
    let done = rebuild.refused();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    cluster.start_again(differing);
    await_three_voters(&mut cluster, leader, old);
    // Whoever came last knows what had been found, too; and an operator ends it.
    await_listed(&mut cluster, &[0, 1, 2], &[old]);
    let ended = run(super::change(
        &endpoints[differing],
        super::AlarmAction::Deactivate,
        old,
    ));
    assert_eq!(ended.expect("it is ended").len(), 1);
    await_listed(&mut cluster, &[0, 1, 2], &[]);
    run(write(&endpoints[differing], 2000));
    std::thread::sleep(std::time::Duration::from_secs(2));
    await_listed(&mut cluster, &[0, 1, 2], &[]);
    cluster.assert_all_live();
}

#[test]
fn a_member_that_differs_does_not_serve_if_it_compares_before_it_starts() {
    let test = "a_member_that_differs_does_not_serve_if_it_compares_before_it_starts";
    if !programs::only_for_reeve(test) {
        return;
    }
    // The running comparisons must not be the ones that find it.
    let mut cluster = Plan::new(3).start_with(|_, launch| {
        launch
            .argument("--feature-gates=InitialCorruptCheck=true")
            .argument("--corrupt-check-time=1h")
    });
    let leader = cluster.leader();
    let differing = (leader + 1) % 3;
    let endpoints = cluster.endpoints();
    run(write(&endpoints[leader], 0));
    let own = id(&cluster, leader, differing);
    let restart = |cluster: &mut Cluster| {
        cluster.members[differing].terminate();
        run(write(&endpoints[leader], 500));
    };
    restart(&mut cluster);
    cluster.start_again(differing);
    let lines = cluster.members[differing].stderr.so_far().concat();
    let passed = "initial corruption checking passed; no corruption";
    assert!(lines.contains(passed), "{lines}");
    // Nor because nobody could be asked.
    assert!(!lines.contains("cannot fetch hash"), "{lines}");

    restart(&mut cluster);
    let data = cluster.members[differing].data_dir().to_path_buf();
    let pages = data.join("member/reeve.pages");
    write_alone(&pages);
    let refusal = cluster.members[differing].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    let told = format!("{own:x} found data inconsistency with peers");
    for told in [&told[..], "checkInitialHashKV failed", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    run(write(&endpoints[leader], 1000));
    let done = cluster.members[differing]
        .launch()
        .subcommand("rebuild")
        .refused();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    cluster.start_again(differing);
    await_three_voters(&mut cluster, leader, own);
}
