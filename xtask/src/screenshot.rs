//! `cargo xtask screenshot`: the picture in the README is what the program showed, not a drawing of it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::steps::say;
use crate::terminal::Screen;
use crate::{demo, shell};

const WIDTH: usize = 100;
const HEIGHT: usize = 32;

struct Wish {
    after: Duration,
    out: PathBuf,
    words: Vec<String>,
}

/// Runs `weir` in a terminal of its own, waits, draws the screen, then asks the program to end as a person would.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let wish = parse(words)?;
    let weir = demo::build()?;
    let line = format!("exec '{}' {}", weir.display(), wish.words.join(" "));
    say(&format!("$ {line}"));
    let screen = watch(&line, wish.after, |_| false)?;
    let text = screen.text();
    println!("{text}");
    if text.trim().is_empty() {
        bail!("the screen is empty after {} s", wish.after.as_secs());
    }
    let title = format!("weir {}", wish.words.join(" "));
    std::fs::write(&wish.out, screen.svg(title.trim()))
        .with_context(|| format!("cannot write {}", wish.out.display()))?;
    say(&format!("{} drawn", wish.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// What a terminal shows of a command when the time is over or the screen is as wished. The command is then ended by its keys.
fn watch(line: &str, time: Duration, wished: impl Fn(&Screen) -> bool) -> Result<Screen> {
    // `script` of util-linux gives the program a terminal; what it writes there comes out of the pipe.
    let mut script = shell::command("script");
    let line = format!("stty rows {HEIGHT} cols {WIDTH}; {line}");
    script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start `script`")?;
    let (Some(mut keys), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("`script` gave no pipes");
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            // Nobody listens once the picture is taken; what comes then is read all the same, or the program would block.
            let _ = sender.send(buffer[..length].to_vec());
        }
    });
    let mut screen = Screen::new(WIDTH, HEIGHT);
    let end = Instant::now() + time;
    while !wished(&screen) {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => screen.feed(&bytes),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => {
                bail!(
                    "the program ended before the {} s were over; it showed:\n{}",
                    time.as_secs(),
                    screen.text().trim()
                );
            }
        }
    }
    // `q` leaves the full-screen console; the interrupt key ends anything else.
    keys.write_all(b"q\x03")?;
    drop(keys);
    let status = child.wait()?;
    say(&format!("the program ended with {status}"));
    Ok(screen)
}

fn parse(words: &[String]) -> Result<Wish> {
    let (mine, theirs) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], words[at + 1..].to_vec()),
        None => (words, vec!["demo".to_owned()]),
    };
    let mut wish =
        Wish { after: Duration::from_secs(20), out: shell::root().join("docs/images/top.svg"), words: theirs };
    let mut words = mine.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("`{word}` needs a value"))?;
        match word.as_str() {
            "--after" => {
                let seconds = value.parse().with_context(|| format!("`--after {value}` is no number of seconds"))?;
                wish.after = Duration::from_secs(seconds);
            }
            "--out" => wish.out = PathBuf::from(value),
            other => bail!("`{other}` is not known here: --after SECONDS, --out FILE, -- ARGS"),
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let words = ["--after", "3", "--out", "x.svg", "--", "top"].map(str::to_owned);
        let wish = parse(&words).unwrap();
        assert_eq!((wish.after.as_secs(), wish.words), (3, vec!["top".to_owned()]));
        assert!(parse(&["--after".to_owned()]).is_err());
        assert!(parse(&["--before".to_owned(), "3".to_owned()]).is_err());
    }
    #[test]
    fn a_program_believes_in_its_terminal() {
        if shell::find("script").is_none() {
            println!("weir-skip: a_program_believes_in_its_terminal: no `script` (package bsdutils)");
            return;
        }
        let there = |screen: &Screen| screen.text().contains("32 100");
        let screen = watch("printf '\\033[3;5H'; stty size; exec cat", Duration::from_secs(20), there).unwrap();
        assert_eq!(screen.text().lines().nth(2), Some("    32 100"));
        let ended = watch("echo early", Duration::from_secs(20), |_| false);
        assert!(ended.is_err_and(|error| error.to_string().contains("early")));
    }
}
