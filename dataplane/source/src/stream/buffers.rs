//! Which buffers are the kernel's, which hold messages, and which are free.
//!
//! A buffer is lent to the kernel, filled by it, and free again when the kernel is done with it and the last message in it
//! is finished. Some are never lent: messages that came in pieces are put together in them.

/// All buffers, by number: the lent ones first.
pub(super) struct Buffers {
    held: Vec<u32>,
    /// The kernel still fills it, or messages are still put together in it.
    open: Vec<bool>,
    lendable: u16,
    /// Lendable ones that are free.
    idle: Vec<u16>,
    /// Others that are free.
    spare: Vec<u16>,
    /// For each lane the one in which its messages are put together, and how far it is used.
    assembling: Vec<Option<(u16, u32)>>,
    size: u32,
}

impl Buffers {
    /// `lendable` buffers to be lent and `spare` for putting together, of `size` bytes; all are free.
    pub(super) fn new(lendable: u16, spare: u16, size: u32) -> Self {
        let count = usize::from(lendable) + usize::from(spare);
        Self {
            held: vec![0; count],
            open: vec![false; count],
            lendable,
            idle: (0..lendable).rev().collect(),
            spare: (lendable..lendable + spare).rev().collect(),
            assembling: Vec::new(),
            size,
        }
    }

    /// A free one to be lent.
    pub(super) fn lend(&mut self) -> Option<u16> {
        let buffer = self.idle.pop()?;
        self.set_open(buffer, true);
        Some(buffer)
    }

    /// The kernel is done with a buffer.
    pub(super) fn emptied(&mut self, buffer: u16) {
        self.set_open(buffer, false);
        self.free_if_done(buffer);
    }

    /// One more message or piece lies in it.
    #[inline]
    pub(super) fn hold(&mut self, buffer: u16) {
        if let Some(held) = self.held.get_mut(usize::from(buffer)) {
            *held += 1;
        }
    }

    /// One of them is finished.
    #[inline]
    pub(super) fn let_go(&mut self, buffer: u16) {
        if let Some(held) = self.held.get_mut(usize::from(buffer)) {
            *held = held.saturating_sub(1);
        }
        self.free_if_done(buffer);
    }

    /// A place for `bytes` of lane `lane` in a buffer that is not lent: its number and the place in it. `None` while all are
    /// in use but `leave`. It counts as held once.
    pub(super) fn assemble(&mut self, lane: usize, bytes: u32, leave: usize) -> Option<(u16, u32)> {
        if self.assembling.len() <= lane {
            self.assembling.resize(lane + 1, None);
        }
        if let Some((buffer, used)) = self.assembling[lane] {
            if used + bytes <= self.size {
                self.assembling[lane] = Some((buffer, used + bytes));
                self.hold(buffer);
                return Some((buffer, used));
            }
            self.assembling[lane] = None;
            self.emptied(buffer);
        }
        if self.spare.len() <= leave {
            return None;
        }
        let buffer = self.spare.pop()?;
        self.set_open(buffer, true);
        self.hold(buffer);
        self.assembling[lane] = Some((buffer, bytes));
        Some((buffer, 0))
    }

    /// Whether a lane has a buffer that its messages are put together in.
    pub(super) fn is_assembling(&self, lane: usize) -> bool {
        self.assembling.get(lane).is_some_and(Option::is_some)
    }

    fn set_open(&mut self, buffer: u16, open: bool) {
        if let Some(place) = self.open.get_mut(usize::from(buffer)) {
            *place = open;
        }
    }

    fn free_if_done(&mut self, buffer: u16) {
        let index = usize::from(buffer);
        if self.held.get(index) == Some(&0) && self.open.get(index) == Some(&false) {
            if buffer < self.lendable { self.idle.push(buffer) } else { self.spare.push(buffer) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_free_when_the_kernel_and_every_message_are_done_with_it() {
        let mut buffers = Buffers::new(1, 1, 100);
        assert_eq!((buffers.lend(), buffers.lend()), (Some(0), None));
        buffers.hold(0);
        buffers.hold(0);
        buffers.let_go(0);
        buffers.emptied(0);
        assert_eq!(buffers.lend(), None, "a message lies in it");
        buffers.let_go(0);
        assert_eq!(buffers.lend(), Some(0));
    }

    #[test]
    fn messages_are_put_together_side_by_side() {
        let mut buffers = Buffers::new(1, 1, 100);
        assert_eq!([buffers.assemble(0, 40, 0), buffers.assemble(0, 60, 0)], [Some((1, 0)), Some((1, 40))]);
        assert_eq!(buffers.assemble(0, 1, 0), None, "it is full and in use");
        buffers.let_go(1);
        buffers.let_go(1);
        assert_eq!(buffers.assemble(1, 1, 1), None, "it is left for somebody else");
        assert_eq!(buffers.assemble(0, 100, 0), Some((1, 0)));
    }
}
