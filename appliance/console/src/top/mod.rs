//! `weir top`: the full-screen console.
//!
//! [`View`] is what is known and what is looked at; [`draw`] puts it on a screen of any size from 80x24; [`watch`] asks,
//! draws and takes keys until it is left. [`text`] and [`svg`] give one screen as a file.

mod draw;
mod history;
mod panel;
mod picture;
mod symbols;
mod view;
mod watch;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{screen as screen_for_tests, status as status_for_tests};

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use weir_appliance_control::problem::Problem;

pub use draw::draw;
pub use picture::{render, svg, text};
pub use symbols::Symbols;
pub use view::{Banner, Flow, Tab, View};
pub use watch::{POLL, Socket, Source, watch};

use crate::answer::{Exit, Outcome};

/// Watch everything on a full screen: ports, rings, features, drops. Press ? there for the keys.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// The control socket of the weir to watch.
    #[arg(long, value_name = "PATH", default_value = weir_appliance_control::config::ControlSpec::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print one screen as text and end.
    #[arg(long)]
    pub once: bool,
    /// With --once: the status as JSON, as `weir status --json` prints it.
    #[arg(long, requires = "once")]
    pub json: bool,
    /// With --once: write the screen into this file as SVG, too.
    #[arg(long, value_name = "FILE", requires = "once")]
    pub svg: Option<PathBuf>,
    /// The size of the screen for --once.
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "80x24", value_parser = size, requires = "once")]
    pub size: (u16, u16),
    /// Draw with ASCII only, for terminals without Unicode.
    #[arg(long)]
    pub ascii: bool,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let refuse = || "a size is written 80x24, from 40x12 to 500x200".to_owned();
    let (columns, rows) = text.split_once('x').ok_or_else(refuse)?;
    let (columns, rows): (u16, u16) = columns.parse().ok().zip(rows.parse().ok()).ok_or_else(refuse)?;
    if (40..=500).contains(&columns) && (12..=200).contains(&rows) { Ok((columns, rows)) } else { Err(refuse()) }
}

impl TopArgs {
    /// Watches until the user leaves, or prints once.
    ///
    /// # Errors
    /// There is no terminal, nobody answers where one screen is to be printed, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        let symbols = if self.ascii { Symbols::Ascii } else { Symbols::of_terminal() };
        let mut source = Socket::new(self.socket.clone());
        if self.once {
            return self.once(symbols, &mut source, out);
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            let cure = "use: weir top --once, or weir status";
            return Err(Problem::new("weir top", "standard input and output are not a terminal", cure).into());
        }
        watch(&mut source, symbols)?;
        Ok(Exit::Done)
    }

    fn once(&self, symbols: Symbols, source: &mut Socket, out: &mut dyn Write) -> Outcome {
        if self.json {
            return crate::answer::json(&source.status()?, out);
        }
        let mut view = View::new(symbols);
        let start = Instant::now();
        view.update(0.0, Ok(source.status()?));
        // Rates need two looks; the time between them is the screen's usual one.
        std::thread::sleep(POLL);
        view.update(start.elapsed().as_secs_f64(), Ok(source.status()?));
        let buffer = render(&view, self.size.0, self.size.1);
        out.write_all(text(&buffer).as_bytes())?;
        if let Some(path) = &self.svg {
            std::fs::write(path, svg(&buffer)).map_err(|cause| {
                Problem::new(path.display().to_string(), format!("cannot be written: {cause}"), "choose another file")
            })?;
        }
        Ok(Exit::Done)
    }
}
