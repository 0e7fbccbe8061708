//! How many frames a queue needs: the sum over everyone who may hold one.

use weir_dataplane_ring::Descriptor;

/// What a queue is set up with, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueShape {
    /// Classes with a ring on this queue.
    pub classes: u32,
    /// Slots of each class's ring.
    pub rx_ring: u32,
    /// Slots of each transmit ring that frames of this queue may be put on.
    pub tx_ring: u32,
    /// Whether a frame may come in several descriptors.
    pub pieces: bool,
}

/// The frames and ring sizes of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBudget {
    /// Frames that circulate on this queue.
    pub frames: u32,
    /// Slots of the fill ring.
    pub fill: u32,
    /// Slots of the completion ring.
    pub completion: u32,
    /// Frames of this queue that may be on transmit rings at the same time, over all ways out. The pool sends no more.
    pub on_the_way: u32,
}

/// Why a shape has no budget.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BudgetError {
    /// A ring size is not a power of two.
    #[error(
        "{what} has {value} slots: a ring has a power of two of at least 64; set `memory.rx_ring` to one, 2048 is the default"
    )]
    NotPowerOfTwo {
        /// Which ring.
        what: &'static str,
        /// Its slots.
        value: u32,
    },
    /// The sum exceeds what one fill ring can hold.
    #[error(
        "{classes} classes of {rx_ring} slots need {frames} frames on one queue, {limit} is the limit; make `memory.rx_ring` smaller or use fewer classes"
    )]
    TooMany {
        /// Classes asked for.
        classes: u32,
        /// Slots of each.
        rx_ring: u32,
        /// Frames this needs.
        frames: u64,
        /// Most frames a queue may have.
        limit: u32,
    },
}

/// Most frames on one queue: a fill ring of 2^20 slots is 8 MiB, far beyond what a burst needs.
pub const FRAMES_LIMIT: u32 = 1 << 20;

/// Frames of one NAPI round, which the driver may have taken from the fill ring without having put them on a ring.
const NAPI_ROUND: u64 = 64;

/// Adds up who may hold a frame. By construction there is always one at home when one class stands still, which
/// [`crate::lending`] has lent to the kernel, and the pool can never find the fill ring full when it gives frames back.
///
/// # Errors
/// When a size is not a power of two or the sum is beyond [`FRAMES_LIMIT`].
pub fn queue_budget(shape: QueueShape) -> Result<QueueBudget, BudgetError> {
    for (what, value) in [("a class's ring", shape.rx_ring), ("a transmit ring", shape.tx_ring.max(64))] {
        if !value.is_power_of_two() || value < 64 {
            return Err(BudgetError::NotPowerOfTwo { what, value });
        }
    }
    // Every class may stand still with its ring full.
    let on_rings = u64::from(shape.classes) * u64::from(shape.rx_ring);
    // A frame that is sent is on its way out while its class's ring slot is already free: a ring full, and as many again
    // whose completions were not seen. With several ways out the sum stays the same: the pool asks `OnTheWay::room`.
    let on_the_way = u64::from(shape.tx_ring) * 2;
    // The driver works on some, and the fill ring must never run dry while it does. No more than that: frames go round in
    // turn, and those that do not fit into the processor's cache cost more than a ring's bookkeeping.
    let in_the_driver = NAPI_ROUND * if shape.pieces { Descriptor::PIECES_MAX as u64 } else { 1 };
    let frames = on_rings + on_the_way + 2 * in_the_driver;
    if frames > u64::from(FRAMES_LIMIT) {
        let (classes, rx_ring) = (shape.classes, shape.rx_ring);
        return Err(BudgetError::TooMany { classes, rx_ring, frames, limit: FRAMES_LIMIT });
    }
    let frames = frames as u32; // bounded just above
    // The kernel frees its fill consumer only after it has published the frame on a ring, so the pool may give back a frame
    // whose old slot is not free yet: at least as many slots as frames, and twice as many is comfortable.
    let fill = (frames.saturating_mul(2)).next_power_of_two();
    let completion = shape.tx_ring.max(64).saturating_mul(2).next_power_of_two();
    let on_the_way = on_the_way as u32; // less than `frames`
    Ok(QueueBudget { frames, fill, completion, on_the_way })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_class_cannot_starve_the_fill_ring() {
        for classes in 1..=16 {
            let shape = QueueShape { classes, rx_ring: 4096, tx_ring: 2048, pieces: classes % 2 == 0 };
            let budget = queue_budget(shape).expect("a plain shape");
            assert!(budget.frames > classes * 4096 + budget.on_the_way, "frames beyond all full rings and ways out");
            assert!(budget.fill >= budget.frames, "every frame fits on the fill ring");
        }
    }

    #[test]
    fn impossible_shapes_are_refused_with_the_value() {
        let odd = queue_budget(QueueShape { classes: 1, rx_ring: 1000, tx_ring: 64, pieces: false });
        assert!(odd.expect_err("not a power of two").to_string().contains("1000"));
        let vast = queue_budget(QueueShape { classes: 64, rx_ring: 1 << 16, tx_ring: 64, pieces: false });
        assert!(vast.expect_err("too many").to_string().contains("1048576"));
    }
}
