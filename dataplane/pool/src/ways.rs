//! Where frames leave: from a mark to an outlet, with the headers changed on the way.

use std::sync::Arc;

use weir_dataplane_io::umem::Umem;
use weir_dataplane_ring::{Descriptor, SendRequest};
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::resend::{self, HEAD};

use crate::outlet::{Outlet, Room};
use crate::send::Mark;
use crate::sender::{Refusal, Senders};
use crate::transmit::OnTheWay;

/// All ways out, and what the pool must know to choose one.
pub struct Ways {
    /// Frames on transmit rings.
    pub on_the_way: OnTheWay,
    /// The outlet of each queue, by the queue's position; `None` for one that sends nothing.
    pub outlets: Box<[Option<Outlet>]>,
    /// The outlet of each interface, by the interface's position.
    pub interfaces: Box<[usize]>,
    /// Features that may send.
    pub senders: Senders,
    /// The frames; the pool writes headers of those that it owns.
    pub frames: Arc<Umem>,
    /// Agents, by number.
    pub agents: Box<[Agent]>,
    /// `CLOCK_MONOTONIC` of this turn.
    pub now_ns: u64,
}

/// What becomes of a marked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on a transmit ring.
    Sent,
    /// It is not sent, for a counted reason.
    Home,
    /// It waits at its place until the next round of this turn.
    NextRound,
    /// It waits at its place until the next turn.
    NextTurn,
}

impl Ways {
    /// Begins a turn at `now_ns`.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.senders.fill(now_ns);
        self.outlets.iter_mut().flatten().for_each(Outlet::begin);
    }

    /// Begins the next round; false when nobody waits for one.
    pub(crate) fn next_round(&mut self) -> bool {
        let mut any = false;
        for outlet in self.outlets.iter_mut().flatten() {
            any |= outlet.next_round();
        }
        any
    }

    /// Shows the kernel everything, kicks each outlet and writes the figures.
    pub(crate) fn flush(&mut self) {
        self.outlets.iter_mut().flatten().for_each(Outlet::flush);
    }

    /// Whether a frame waits for room.
    pub(crate) fn is_behind(&self) -> bool {
        self.outlets.iter().flatten().any(Outlet::is_behind)
    }

    /// Sends a frame that every taker has passed, as its mark says. `arrival` is the outlet of the interface it came in by.
    pub(crate) fn send(&mut self, mark: Mark, pieces: &[Descriptor], arrival: usize) -> Fate {
        let bytes: u32 = pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.length));
        match self.try_send(mark, pieces, bytes, arrival) {
            Ok(Fate::Sent) => {
                self.senders.sent(mark.sender, bytes);
                Fate::Sent
            }
            Ok(fate) => fate,
            Err(refusal) => {
                if let Some(figures) = self.senders.figures(mark.sender) {
                    figures.refused[refusal as usize] += 1;
                }
                Fate::Home
            }
        }
    }

    fn try_send(&mut self, mark: Mark, pieces: &[Descriptor], bytes: u32, arrival: usize) -> Result<Fate, Refusal> {
        let head = *pieces.first().ok_or(Refusal::NotADatagram)?;
        if pieces.last().is_none_or(Descriptor::is_continued) {
            return Err(Refusal::NotADatagram); // cut by a hostile cursor: the kernel would join the next frame to it
        }
        let agent = self.agent(mark)?;
        let index = match (u32::from(mark.action), agent) {
            (SendRequest::ANSWER, _) => arrival,
            (_, Some(agent)) => self.interface(u32::from(agent.egress))?,
            _ => self.interface(mark.target)?,
        };
        if !self.senders.allows(mark.sender) {
            return Ok(self.count(mark, |figures| figures.capped += 1));
        }
        let elsewhere = self.on_the_way.room(head.address) >= pieces.len();
        let outlet = self.outlets.get_mut(index).and_then(Option::as_mut).ok_or(Refusal::UnknownInterface)?;
        match outlet.room(mark.sender, pieces.len(), bytes, elsewhere, self.now_ns) {
            Room::Yes => {}
            Room::NextRound => return Ok(Fate::NextRound),
            Room::NextTurn => return Ok(Fate::NextTurn),
            Room::Never => return Ok(self.count(mark, |figures| figures.full += 1)),
        }
        edit(&self.frames, mark, head, bytes, agent)?;
        for (at, piece) in pieces.iter().enumerate() {
            self.on_the_way.leaving(piece.address, (at == 0).then_some(mark.sender));
        }
        outlet.send(mark.sender, pieces, bytes);
        Ok(Fate::Sent)
    }

    fn count(&mut self, mark: Mark, count: impl FnOnce(&mut crate::sender::SendFigures)) -> Fate {
        if let Some(figures) = self.senders.figures(mark.sender) {
            count(figures);
        }
        Fate::Home
    }

    fn agent(&self, mark: Mark) -> Result<Option<Agent>, Refusal> {
        if u32::from(mark.action) != SendRequest::SEND_ON {
            return Ok(None);
        }
        let found = self.agents.binary_search_by_key(&mark.target, |agent| agent.id).ok();
        found.and_then(|at| self.agents.get(at)).copied().map(Some).ok_or(Refusal::UnknownAgent)
    }

    fn interface(&self, position: u32) -> Result<usize, Refusal> {
        self.interfaces.get(position as usize).copied().ok_or(Refusal::UnknownInterface)
    }
}

/// Changes the headers of a frame that is the pool's: nobody reads it any more.
fn edit(frames: &Umem, mark: Mark, head: Descriptor, length: u32, agent: Option<Agent>) -> Result<(), Refusal> {
    if u32::from(mark.action) == SendRequest::OUT {
        return Ok(());
    }
    let size = head.length.min(HEAD as u32);
    let found = frames.bytes(head.address, size).ok_or(Refusal::NotADatagram)?;
    let datagram = resend::datagram(found, length as usize)?;
    let headers = frames.cells(head.address, size).ok_or(Refusal::NotADatagram)?;
    match agent {
        Some(agent) => resend::send_on(headers, &datagram, &agent)?,
        None => resend::answer(headers, &datagram)?,
    }
    Ok(())
}
