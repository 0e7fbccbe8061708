//! How a command ends: what is printed where, and the exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use weir_appliance_control::client;
use weir_appliance_control::config::ControlSpec;
use weir_appliance_control::message::{Answer, Changed, Done, Reply, Request};
use weir_appliance_control::problem::Problem;

/// What a command found, if it could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or yes: exit code 0.
    Done,
    /// Not so: exit code 1.
    NotSo,
}

/// Why a command could not be carried out: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Value, cause and cure.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// One line of another room that names value, cause and cure itself.
    #[error("{0}")]
    Line(String),
    /// What was to be printed could not be. A reader that went away is no failure: see [`finish`].
    #[error("standard output: {0}; check where it goes")]
    Output(#[from] io::Error),
}

/// What every command gives back.
pub type Outcome = Result<Exit, Failure>;

/// The exit code of an outcome; an error is printed as one line. A reader that closed the pipe has seen what it wanted,
/// so a broken pipe is success.
pub fn finish(outcome: &Outcome, errors: &mut dyn Write) -> ExitCode {
    match outcome {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::NotSo) => ExitCode::from(1),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // If the line cannot be written, the exit code still tells.
            let _ = writeln!(errors, "weir: {failure}");
            ExitCode::from(2)
        }
    }
}

/// The words that every command takes which asks a running weir.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The control socket of the weir to ask.
    #[arg(long, value_name = "PATH", default_value = ControlSpec::DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

impl Ask {
    /// Asks; a refusal is an error.
    ///
    /// # Errors
    /// Nobody answers, or the request is refused.
    pub fn call(&self, request: &Request) -> Result<Answer, Problem> {
        match client::call(&self.socket, request)? {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(problem) => Err(problem),
        }
    }

    /// Asks for a change and says what it did.
    pub(crate) fn change(&self, request: &Request, out: &mut dyn Write) -> Outcome {
        match self.call(request)? {
            Answer::Done(done) => done_text(&done, self.json, out),
            Answer::Changed(changed) => changed_text(&changed, self.json, out),
            other => Err(unexpected(&self.socket, &other).into()),
        }
    }
}

fn done_text(done: &Done, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(done, out);
    }
    match (done.saved, &done.unsaved_because) {
        (true, _) => writeln!(out, "{}", done.text)?,
        (false, Some(why)) => writeln!(out, "{}\nuntil the next start only: {why}", done.text)?,
        (false, None) => writeln!(out, "{}\nuntil the next start only", done.text)?,
    }
    Ok(Exit::Done)
}

fn changed_text(changed: &Changed, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(changed, out);
    }
    match changed.revision {
        Some(revision) => writeln!(out, "{} (revision {revision})", changed.text)?,
        None => writeln!(out, "{}", changed.text)?,
    }
    if let Some(seconds) = changed.confirm_within_s {
        writeln!(out, "it is taken back in {seconds} s, unless you keep it with: weir confirm")?;
    }
    Ok(Exit::Done)
}

/// The problem of an answer to another question.
pub(crate) fn unexpected(socket: &Path, answer: &Answer) -> Problem {
    let kind = serde_json::to_value(answer).ok();
    let kind = kind.as_ref().and_then(|value| value.as_object()?.keys().next().cloned()).unwrap_or_default();
    Problem::new(
        socket.display().to_string(),
        format!("it answered another question ({kind})"),
        "use the weir program that is running there",
    )
}

/// Prints the one thing that was asked for; exit code 1 and `missing` (`null` in JSON) where there is none.
pub(crate) fn one<T: Serialize>(
    found: Option<&T>,
    missing: impl FnOnce() -> String,
    as_json: bool,
    out: &mut dyn Write,
    show: impl FnOnce(&T, &mut dyn Write) -> Outcome,
) -> Outcome {
    match found {
        None => {
            writeln!(out, "{}", if as_json { "null".to_owned() } else { missing() })?;
            Ok(Exit::NotSo)
        }
        Some(thing) if as_json => json(thing, out),
        Some(thing) => show(thing, out),
    }
}

/// Prints one line of JSON.
pub(crate) fn json(value: &impl Serialize, out: &mut dyn Write) -> Outcome {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    writeln!(out, "{text}")?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_done_not_so_and_error() {
        let mut errors = Vec::new();
        let mut code = |outcome: Outcome| format!("{:?}", finish(&outcome, &mut errors));
        let shown = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Ok(Exit::Done)), shown(0));
        assert_eq!(code(Ok(Exit::NotSo)), shown(1));
        assert_eq!(code(Err(io::Error::from(io::ErrorKind::BrokenPipe).into())), shown(0));
        assert_eq!(code(Err(Problem::new("x", "is bad", "write y").into())), shown(2));
        assert_eq!(String::from_utf8(errors).expect("text"), "weir: x: is bad; write y\n");
    }

    #[test]
    fn a_change_says_its_revision_and_how_to_keep_it() {
        let text = |revision, confirm_within_s: Option<u64>| {
            let changed =
                Changed { text: "rule x added".into(), saved: confirm_within_s.is_none(), revision, confirm_within_s };
            let mut out = Vec::new();
            changed_text(&changed, false, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        let seven = Some(weir_appliance_control::resources::Revision(7));
        assert_eq!(text(seven, None), "rule x added (revision 7)\n");
        assert!(text(seven, Some(60)).ends_with("\nit is taken back in 60 s, unless you keep it with: weir confirm\n"));
    }

    #[test]
    fn a_change_says_if_it_lasts() {
        let text = |saved, why: Option<&str>| {
            let done = Done { text: "rule x added".into(), saved, unsaved_because: why.map(str::to_owned) };
            let mut out = Vec::new();
            done_text(&done, false, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(text(true, None), "rule x added\n");
        assert_eq!(text(false, Some("no file")), "rule x added\nuntil the next start only: no file\n");
    }
}
