//! A client's connection: made, used by one writer and one reader, and made anew when it breaks.

use std::io::{self, Read, Write};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use weir_ebpf_abi::stream::{StreamError, StreamHello, StreamSays, StreamWord};
use zerocopy::IntoBytes;

use crate::address::Socket;
use crate::client::{Ending, Link, Shared};

/// Why a connection is over.
enum Over {
    /// A new one is made.
    Broken(String),
    /// None is.
    Ended(Ending),
}

impl Over {
    fn into_link(self) -> Link {
        match self {
            Self::Ended(cause) => Link::Ended(cause),
            Self::Broken(cause) => Link::Down(cause),
        }
    }
}

/// Connects and learns where the box goes on; `None`, with the reason in the link, if that failed.
pub(crate) fn open(shared: &Shared) -> Option<Socket> {
    let opened = shared.address.connect(shared.options.connect_within).map_err(|error| broken(&error));
    let opened = opened.and_then(|mut socket| greet(shared, &mut socket).map(|()| socket));
    let mut state = shared.lock();
    match opened.and_then(|socket| Ok((socket.try_clone().map_err(|error| broken(&error))?, socket))) {
        Ok((kept, socket)) => {
            state.link = Link::Up(kept);
            state.statistics.connected += 1;
            shared.progress.notify_all();
            Some(socket)
        }
        Err(over) => {
            state.link = over.into_link();
            shared.progress.notify_all();
            None
        }
    }
}

/// Says hello and takes the box's welcome.
fn greet(shared: &Shared, socket: &mut Socket) -> Result<(), Over> {
    let next = shared.lock().window.acknowledged();
    socket.write_all(StreamHello::new(shared.options.source, next).as_bytes()).map_err(|error| broken(&error))?;
    socket.set_read_timeout(Some(shared.options.connect_within)).map_err(|error| broken(&error))?;
    let mut bytes = [0; StreamWord::SIZE];
    socket.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Over::Broken("it takes connections and says nothing".to_owned()),
        _ => broken(&error),
    })?;
    let (says, word) = parse(&bytes)?;
    let (next, credit) = (word.next.get(), word.credit.get());
    match says {
        StreamSays::Refused => Err(refusal(word.reason.get())),
        StreamSays::Progress => Err(foreign("it speaks another version of the stream form")),
        StreamSays::Welcome => {
            let mut state = shared.lock();
            if !state.window.resume(next) {
                return Err(Over::Ended(Ending::Ahead(next)));
            }
            state.credit = credit;
            Ok(())
        }
    }
}

/// Writes on `socket`, and on those made after it, until the client stops or the box wants no more.
pub(crate) fn run(shared: &Shared, socket: Option<Socket>) {
    let Some(mut socket) = socket.or_else(|| open(shared)).or_else(|| again(shared)) else { return };
    loop {
        std::thread::scope(|scope| {
            let reading = socket.try_clone();
            scope.spawn(|| {
                let over = match reading {
                    Ok(reading) => read(shared, reading),
                    Err(error) => broken(&error),
                };
                end(shared, over);
            });
            if let Err(error) = write(shared, &mut socket) {
                end(shared, broken(&error));
            }
            // Wakes the reader, whichever side noticed first.
            socket.shutdown();
        });
        match again(shared) {
            Some(made) => socket = made,
            None => return,
        }
    }
}

/// Sends what the window has and the box gives credit for, until the link is no longer up.
fn write(shared: &Shared, socket: &mut Socket) -> io::Result<()> {
    let mut state = shared.lock();
    let mut starved = false;
    loop {
        if state.stop || !matches!(state.link, Link::Up(_)) {
            return Ok(());
        }
        let credit = state.credit;
        if let Some(piece) = state.window.take(credit) {
            state.statistics.sent += piece.messages;
            state.statistics.resent += piece.again;
            drop(state);
            socket.write_all(piece.bytes())?;
            state = shared.lock();
            starved = false;
            continue;
        }
        if state.window.accepted() > credit && !starved {
            starved = true;
            state.statistics.waits += 1;
        }
        state.idle = true;
        state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.idle = false;
    }
}

/// Takes the box's words until the connection is over.
fn read(shared: &Shared, mut socket: Socket) -> Over {
    // Half, and twice: what was sent just before one look is not taken for what was ignored.
    let look = (shared.options.silence / 2).max(Duration::from_millis(1));
    if let Err(error) = socket.set_read_timeout(Some(look)) {
        return broken(&error);
    }
    let mut outstanding = None;
    let mut bytes = [0; StreamWord::SIZE];
    let mut filled = 0;
    loop {
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => return Over::Broken("the box closed the connection".to_owned()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Silence is no sign of death while nothing is outstanding.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let state = shared.lock();
                let waits = state.window.to_send() > state.window.acknowledged();
                let seen = waits.then(|| state.window.acknowledged());
                if seen.is_some() && seen == outstanding {
                    return Over::Broken(format!("nothing was heard for {:?}", shared.options.silence));
                }
                outstanding = seen;
            }
            Err(error) => return broken(&error),
        }
        if filled < bytes.len() {
            continue;
        }
        (filled, outstanding) = (0, None);
        if let Err(over) = parse(&bytes).and_then(|(says, word)| obey(shared, says, word)) {
            return over;
        }
    }
}

/// Does what a word after the welcome says.
fn obey(shared: &Shared, says: StreamSays, word: &StreamWord) -> Result<(), Over> {
    match says {
        StreamSays::Refused => Err(refusal(word.reason.get())),
        StreamSays::Welcome => Err(foreign("it welcomed one connection twice")),
        StreamSays::Progress => {
            let mut state = shared.lock();
            let (next, sent) = (word.next.get(), state.window.sent());
            if next > sent {
                return Err(foreign(format!("it acknowledged messages below {next}, of which {sent} were sent")));
            }
            state.statistics.acknowledged += state.window.acknowledge(next);
            state.credit = state.credit.max(word.credit.get());
            if state.idle {
                shared.work.notify_one();
            }
            shared.progress.notify_all();
            Ok(())
        }
    }
}

/// Makes a new connection, with pauses that grow; `None` when there is to be none.
fn again(shared: &Shared) -> Option<Socket> {
    let mut pause = shared.options.first_pause;
    loop {
        let until = Instant::now() + pause;
        let mut state = shared.lock();
        loop {
            if state.stop || matches!(state.link, Link::Ended(_)) {
                return None;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if let Some(socket) = open(shared) {
            return Some(socket);
        }
        pause = longer(pause, shared.options.longest_pause);
    }
}

fn longer(pause: Duration, most: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(1), most.max(Duration::from_millis(1)))
}

/// Takes the link down and wakes everybody. Both threads come here: the first reason stays, unless the second is final.
fn end(shared: &Shared, over: Over) {
    let mut state = shared.lock();
    let final_word = matches!((&state.link, &over), (Link::Down(_), Over::Ended(_)));
    if final_word || matches!(state.link, Link::Up(_)) {
        state.link = over.into_link();
    }
    shared.work.notify_all();
    shared.progress.notify_all();
}

fn parse(bytes: &[u8]) -> Result<(StreamSays, &StreamWord), Over> {
    StreamWord::parse(bytes).ok_or_else(|| foreign("what it says are no words of a stream"))
}

fn foreign(cause: impl Into<String>) -> Over {
    Over::Ended(Ending::Foreign(cause.into()))
}

fn broken(error: &io::Error) -> Over {
    Over::Broken(error.to_string())
}

/// What a refusal means: some pass with time, others come again whenever one tries.
fn refusal(number: u16) -> Over {
    let Some(reason) = StreamError::from_number(number) else {
        return foreign(format!("it refused for reason {number}, which this version does not know"));
    };
    let said = format!("{}: {}", reason.name(), reason.sentence());
    match reason {
        // The box is full now, or found this side too slow, or lost its place: the next welcome sets that right.
        StreamError::TooMany | StreamError::Stalled | StreamError::Gap | StreamError::Credit => Over::Broken(said),
        StreamError::NoHello
        | StreamError::Version
        | StreamError::NoHeader
        | StreamError::Length
        | StreamError::Form
        | StreamError::BadMessage
        | StreamError::Source
        | StreamError::Superseded
        | StreamError::Ahead => Over::Ended(Ending::Refused(reason)),
    }
}
