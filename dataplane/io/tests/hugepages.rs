//! Does frame memory get hugepages where there are any, and say why where there are none?
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use weir_dataplane_io::memory::{NodeHugePages, hugepages, page_size, reserve};
use weir_dataplane_io::umem::{Backing, HugePages, Umem, UmemOptions, UmemView};

const HUGE: u64 = 2 << 20;

fn options(hugepages: HugePages) -> UmemOptions {
    UmemOptions { frames: 512, frame_size: 4096, hugepages, node: None }
}

#[test]
fn plain_pages_are_plain_and_say_why() {
    let umem = Umem::create_with(options(HugePages::Never)).unwrap();
    assert_eq!(page_size(umem.mapping()).unwrap(), 4096);
    assert!(umem.backing().to_string().contains("switched off"), "{}", umem.backing());
}

#[test]
fn more_hugepages_than_the_machine_has_fall_back_or_fail_with_the_cure() {
    // 1 TiB of frames cannot be reserved here; only the refusal is looked at, so nothing is allocated.
    let wanted = UmemOptions { frames: 1 << 28, frame_size: 4096, hugepages: HugePages::Require, node: None };
    let error = Umem::create_with(wanted).unwrap_err().to_string();
    assert!(error.contains("vm.nr_hugepages=524288"), "{error}");
}

#[test]
fn hugepages_are_had_where_there_is_one_free() {
    let before = reserve(Path::new("/sys"), 0, None).unwrap().free;
    // One more than are free now, so that nobody else's are taken.
    let made = match reserve(Path::new("/sys"), before + 1, None) {
        Ok(made) if made.free > before => made,
        Ok(_) => return println!("weir-skip: hugepages_are_had: no free memory for a hugepage"),
        Err(error) => return println!("weir-skip: hugepages_are_had: {error}"),
    };
    let umem = Umem::create_with(options(HugePages::Require)).unwrap();
    assert_eq!((umem.backing(), page_size(umem.mapping()).unwrap()), (&Backing::HugePages2M, HUGE));
    assert!(umem.write(4096, b"frame"));
    let view = UmemView::map(umem.file(), umem.length()).unwrap();
    assert_eq!(view.bytes(4096, 5), Some(&b"frame"[..]));
    assert_eq!(page_size(view.mapping()).unwrap(), HUGE);
    drop((umem, view));
    let number = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    let total: u64 = fs::read_to_string(number).unwrap().trim().parse().unwrap();
    fs::write(number, (total - (made.free - before)).to_string()).unwrap();
}

/// A recorded tree: two nodes with 8 and 0 pages.
fn tree() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hugepages-{}", std::process::id()));
    for (node, total, free) in [(0, 8, 5), (1, 0, 0)] {
        let folder = root.join(format!("devices/system/node/node{node}/hugepages/hugepages-2048kB"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nr_hugepages"), format!("{total}\n")).unwrap();
        fs::write(folder.join("free_hugepages"), format!("{free}\n")).unwrap();
    }
    root
}

#[test]
fn nodes_are_counted_and_a_reservation_says_what_it_got() {
    let root = tree();
    let expected = [NodeHugePages { node: 0, total: 8, free: 5 }, NodeHugePages { node: 1, total: 0, free: 0 }];
    assert_eq!(hugepages(&root), expected);
    // The tree is no kernel: the wish is written down and nothing is freed for it.
    let got = reserve(&root, 7, Some(0)).unwrap();
    assert_eq!((got.wanted, got.before, got.free), (7, 5, 5));
    assert_eq!(hugepages(&root)[0].total, 10, "two more than before");
    assert_eq!(reserve(&root, 3, Some(0)).unwrap().free, 5);
    assert_eq!(hugepages(&root)[0].total, 10, "never lowered");
    assert!(reserve(&root, 1, Some(9)).is_err());
    fs::remove_dir_all(root).unwrap();
}
