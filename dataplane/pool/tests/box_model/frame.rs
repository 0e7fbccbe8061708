//! Frames with a number of their own: messages over UDP and IPv4 in pieces of 200 bytes.

use weir_dataplane_io::umem::Umem;

use super::Wish;

/// Bytes of every piece.
pub(crate) const PIECE: usize = 200;
/// Bytes of all headers.
const HEAD: usize = 70;
/// Ethernet address of agent 7.
pub(crate) const AGENT: [u8; 6] = [2, 7, 7, 7, 7, 7];

/// Address of agent 7.
pub(crate) fn agent_address() -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[10, 7, 7, 7]);
    address
}

/// Headers without what differs with the frame's length: both lengths, and the checksum of IPv4.
fn plain(mut head: Vec<u8>) -> Vec<u8> {
    head.truncate(HEAD);
    [16..18, 24..26, 38..40].into_iter().for_each(|range| head[range].fill(0));
    head
}

/// The headers of frame `number`.
pub(crate) fn head(number: u32) -> Vec<u8> {
    plain(build(number, 1))
}

/// The whole frame `number`. Its checksum over UDP is left out, which IPv4 allows.
pub(crate) fn build(number: u32, pieces: u8) -> Vec<u8> {
    let length = PIECE * usize::from(pieces);
    let mut frame = vec![0xaa_u8; length];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    let ip_length = (length - 14) as u16;
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    frame[16..18].copy_from_slice(&ip_length.to_be_bytes());
    frame[34..42].copy_from_slice(&[0x9c, 0x40, 0xbb, 0xe4, 0, 0, 0, 0]);
    frame[38..40].copy_from_slice(&(ip_length - 20).to_be_bytes());
    for (at, word) in (42..70).step_by(4).zip([1, 2, 3, 0, 0, 0, number]) {
        frame[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    frame
}

/// The number of the frame whose head lies at `address`.
pub(crate) fn number(frames: &Umem, address: u64) -> u32 {
    let bytes = frames.bytes(address + 66, 4).expect("inside the memory");
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The headers of the frame at `address`, as [`head`] has them.
pub(crate) fn read(frames: &Umem, address: u64) -> Vec<u8> {
    plain(frames.bytes(address, HEAD as u32).expect("inside the memory").to_vec())
}

/// The headers of frame `number` after a wish came true.
pub(crate) fn changed(number: u32, wish: Wish) -> Vec<u8> {
    let mut frame = build(number, 1);
    match wish {
        Wish::Out(_) => return head(number),
        Wish::Answer => {
            for (at, size) in [(0, 6), (26, 4), (34, 2), (46, 4)] {
                (at..at + size).for_each(|byte| frame.swap(byte, byte + size));
            }
        }
        Wish::SendOn(agent) => {
            frame[..6].copy_from_slice(&AGENT);
            frame[6..12].fill(0);
            frame[30..34].copy_from_slice(&agent_address()[..4]);
            frame[50..54].copy_from_slice(&agent.to_le_bytes());
        }
    }
    frame[22] -= 1; // one hop less
    plain(frame)
}
