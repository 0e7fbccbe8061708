//! Are shared buffers on hugepages where some are free, and do they say so where none are?
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;

use weir_appliance_sdk_rust::SharedBuffer;
use weir_dataplane_io::memory::reserve;
use weir_dataplane_io::umem::Backing;
use weir_dataplane_ring::Positions;

const NUMBER: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

#[test]
fn a_buffer_is_on_hugepages_where_there_are_enough() {
    let before = reserve(Path::new("/sys"), 0, None).unwrap().free;
    // Two more than are free now, so that nobody else's are taken.
    let made = match reserve(Path::new("/sys"), before + 2, None) {
        Ok(made) if made.free >= before + 2 => made,
        Ok(_) => return println!("weir-skip: a_buffer_is_on_hugepages: no free memory for two hugepages"),
        Err(error) => return println!("weir-skip: a_buffer_is_on_hugepages: {error}"),
    };
    // A page of the ring's own and 2 MiB of bytes: two hugepages.
    let buffer = SharedBuffer::create(1, 2 << 20, 0).unwrap();
    assert_eq!((buffer.backing(), buffer.node_of((2 << 20) - 1).unwrap()), (&Backing::HugePages2M, 0));
    let other = SharedBuffer::open(buffer.file().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(other.backing(), &Backing::HugePages2M);
    let (writer, reader) = (Positions::default(), Positions::default());
    buffer.ring().write(&writer, b"over hugepages").unwrap();
    let mut into = [0; 20];
    assert_eq!(other.ring().read(&reader, &mut into), Ok(Some(14)));
    // More than the machine has: plain pages, and the reason with the cure.
    let large = SharedBuffer::create(1, 256 << 20, 0).unwrap();
    if let Backing::Plain { why } = large.backing() {
        assert!(why.contains("reserve 129 hugepages"), "{why}");
    }
    drop((buffer, other, large));
    let total: u64 = fs::read_to_string(NUMBER).unwrap().trim().parse().unwrap();
    fs::write(NUMBER, (total - (made.free - before)).to_string()).unwrap();
}
