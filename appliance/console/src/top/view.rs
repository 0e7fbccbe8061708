//! What the screen knows, and what of it is looked at.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_appliance_control::message::{Counters, Status};
use weir_appliance_control::problem::Problem;

use super::history::History;
use super::symbols::Symbols;

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Something of everything.
    #[default]
    Overview,
    /// Interfaces, with mode and the reason for it.
    Ports,
    /// Rings, with how full they are.
    Rings,
    /// Features, with their latest window.
    Features,
    /// Drops by reason.
    Drops,
    /// Processes, memory and cores.
    Processes,
}

impl Tab {
    /// The pages, in order.
    pub const ALL: [Self; 6] = [Self::Overview, Self::Ports, Self::Rings, Self::Features, Self::Drops, Self::Processes];

    /// The page's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Ports => "Ports",
            Self::Rings => "Rings",
            Self::Features => "Features",
            Self::Drops => "Drops",
            Self::Processes => "Processes",
        }
    }

    fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

/// A line above all others, for whoever embeds the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Banner {
    /// What it says.
    pub line: String,
    /// A countdown at its right end.
    pub left: Option<Duration>,
}

/// Whether a key leaves the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Stay,
    /// Leave.
    Quit,
}

/// What is known of the weir that is watched.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// It does not answer, and why.
    Absent(Problem),
    /// Its latest status.
    Present(Box<Status>),
}

/// The screen's contents.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) known: Known,
    pub(super) history: History,
    /// What the counters were when they were last reset.
    pub(super) base: Counters,
    pub(super) tab: Tab,
    pub(super) selected: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) banner: Option<Banner>,
    pub(super) symbols: Symbols,
}

impl View {
    /// A view that knows nothing yet.
    pub fn new(symbols: Symbols) -> Self {
        Self {
            known: Known::Nothing,
            history: History::default(),
            base: Counters::default(),
            tab: Tab::Overview,
            selected: 0,
            paused: false,
            help: false,
            banner: None,
            symbols,
        }
    }

    /// Takes what a look at seconds `at` (from any start) found. A view on pause keeps what it has.
    pub fn update(&mut self, at: f64, found: Result<Status, Problem>) {
        if self.paused {
            return;
        }
        self.known = match found {
            Ok(status) => {
                // A new start counts from zero, so what was taken as the base is gone.
                if status.counters.received < self.base.received {
                    self.base = Counters::default();
                }
                self.history.look(at, &status);
                Known::Present(Box::new(status))
            }
            Err(problem) => {
                self.history = History::default();
                Known::Absent(problem)
            }
        };
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    /// Sets or removes the line above all others.
    pub fn set_banner(&mut self, banner: Option<Banner>) {
        self.banner = banner;
    }

    /// Shows a page.
    pub fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
    }

    /// Whether the weir that is watched answers.
    pub fn is_present(&self) -> bool {
        matches!(self.known, Known::Present(_))
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Flow {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Flow::Quit,
            // The next key of any kind closes the help.
            _ if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Flow::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.reset(),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.show(self.tab.moved(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.tab.moved(Tab::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='6') => self.show(Tab::ALL[digit as usize - '1' as usize]),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.rows().saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = self.rows().saturating_sub(1),
            _ => {}
        }
        Flow::Stay
    }

    /// Counts from now on: totals show what came since.
    fn reset(&mut self) {
        self.history = History::default();
        if let Known::Present(status) = &self.known {
            self.base = status.counters.clone();
        }
    }

    /// How many rows the page's list has.
    fn rows(&self) -> usize {
        let Known::Present(status) = &self.known else { return 0 };
        match self.tab {
            Tab::Overview => 0,
            Tab::Ports => status.interfaces.len(),
            Tab::Rings => status.rings.len(),
            Tab::Features => status.features.len(),
            Tab::Drops => super::panel::reasons(self, status).len(),
            Tab::Processes => status.processes.len(),
        }
    }
}
