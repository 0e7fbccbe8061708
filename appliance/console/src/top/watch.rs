//! Asks, draws and takes keys until the screen is left.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal::EnterAlternateScreen;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};
use weir_appliance_control::client;
use weir_appliance_control::message::{Answer, Reply, Request, Status};
use weir_appliance_control::problem::Problem;

use super::view::{Banner, Flow, View};
use super::{Symbols, draw};
use crate::answer::unexpected;

/// How often the weir is asked.
pub const POLL: Duration = Duration::from_millis(500);
/// How long an answer may take: shorter than a person waits for a key.
const PATIENCE: Duration = Duration::from_millis(400);

/// Where the screen gets what it shows.
pub trait Source {
    /// The status now.
    ///
    /// # Errors
    /// Nobody answers; the screen shows why, and asks again.
    fn status(&mut self) -> Result<Status, Problem>;

    /// The line above all others, if there shall be one.
    fn banner(&mut self) -> Option<Banner> {
        None
    }

    /// Whether the screen shall close by itself now.
    fn is_over(&mut self) -> bool {
        false
    }
}

/// A running weir, asked over its control socket.
#[derive(Clone, Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// The weir behind this socket.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Source for Socket {
    fn status(&mut self) -> Result<Status, Problem> {
        match client::call_within(&self.path, &Request::Status, PATIENCE)? {
            Reply::Ok(Answer::Status(status)) => Ok(*status),
            Reply::Ok(other) => Err(unexpected(&self.path, &other)),
            Reply::Error(problem) => Err(problem),
        }
    }
}

/// Gives the terminal back however the screen is left; a panic does so by the hook that ratatui sets.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the full screen until a key leaves it or the source says it is over.
///
/// # Errors
/// The terminal cannot be read or written.
pub fn watch(source: &mut dyn Source, symbols: Symbols) -> io::Result<()> {
    // Made first, so that a start that fails half way is undone too.
    let _restored = Restored;
    let mut terminal = ratatui::try_init_with_options(TerminalOptions { viewport: viewport() })?;
    crossterm::execute!(io::stdout(), EnterAlternateScreen)?;
    let mut view = View::new(symbols);
    let start = Instant::now();
    let mut next = start;
    loop {
        if Instant::now() >= next {
            view.update(start.elapsed().as_secs_f64(), source.status());
            next = Instant::now() + POLL;
        }
        view.set_banner(source.banner());
        if source.is_over() {
            return Ok(());
        }
        terminal.draw(|frame| draw(frame, &view))?;
        if !event::poll(next.saturating_duration_since(Instant::now()))? {
            continue;
        }
        match event::read()? {
            // Some terminals report releases too; only presses count.
            Event::Key(key) if key.kind != KeyEventKind::Release && view.key(key) == Flow::Quit => return Ok(()),
            // Any other event, a new size among them, is answered by drawing again.
            _ => {}
        }
    }
}

/// The whole terminal; 80x24 where it does not know its size, as many serial lines do not.
fn viewport() -> Viewport {
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => Viewport::Fullscreen,
        _ => Viewport::Fixed(Rect::new(0, 0, 80, 24)),
    }
}
