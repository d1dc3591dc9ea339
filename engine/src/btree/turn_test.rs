//! Between publications and write-outs the writer keeps nothing from being reclaimed.

use std::path::Path;

use super::{Reader, Store, StoreOptions, TreeId};
use crate::disk::{SimulatedDisk, SimulatedMedium};
use crate::pages::{SimulatedSource, Stop, WritePlan, create_page_file, drive};

/// Whether what readers leave behind is reclaimed.
fn is_reclaimed(store: &Store) -> bool {
    let seat = store.space().seat();
    // Each call brings the others one epoch further.
    for _ in 0..8 {
        seat.mark(1);
    }
    seat.passed() == 1
}

fn open() -> (SimulatedDisk, Store, WritePlan) {
    let (medium, path) = (SimulatedMedium::new(), Path::new("/pages"));
    let mut disk = medium.attach();
    create_page_file(&mut disk, path, [1, 2]).unwrap();
    let source = SimulatedSource::new(&medium, path.to_path_buf(), 64 << 20).unwrap();
    let options = StoreOptions::default();
    let opened = Store::open(&mut disk, path, Box::new(source), &options, |_| true).unwrap();
    let plan = WritePlan {
        file: opened.file,
        token: 1,
        sync_bytes: 1 << 20,
    };
    let mut store = opened.store;
    store.space_granted(store.space_wanted().unwrap());
    (disk, store, plan)
}

#[test]
fn a_writer_that_does_nothing_holds_nothing() {
    let (mut disk, mut store, plan) = open();
    let reader: Reader = store.reader();
    for round in 0..20_u64 {
        for key in 0..50_u64 {
            let key = (key * round).to_be_bytes();
            let insert =
                |store: &mut Store| store.insert(TreeId::Keys, &key, &[7; 100], None, true);
            while let Err(stop) = insert(&mut store) {
                let Stop::NeedPages(faults) = stop else {
                    panic!("{stop}")
                };
                store.rest();
                store.space().bring_in(&faults).unwrap();
            }
        }
        store.publish();
        assert!(is_reclaimed(&store), "after publication {round}");
        let mut job = match round % 3 {
            0 => store.begin_checkpoint((round, 1), plan),
            1 => store.begin_spill(plan),
            _ => continue,
        }
        .unwrap();
        assert!(is_reclaimed(&store), "while a write-out is under way");
        drive::run_job(&mut disk, &mut job);
        let view = reader.view();
        store.finish_write_out(job).unwrap();
        drop(view);
        assert!(is_reclaimed(&store), "after a write-out");
    }
}
