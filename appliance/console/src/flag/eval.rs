//! Flags that programs ask: `weir flag eval` and `weir flag check` take a document where it lies, `weir flag publish`, `document`
//! and `ask` the one that the box keeps.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use weir_appliance_control::config::ProgramFlags;
use weir_appliance_control::message::{Answer, Request, VariantAnswer};
use weir_appliance_control::problem::{Problem, one_line};
use weir_appliance_flags::{DOCUMENT_BYTES, Document};

use crate::answer::{Ask, Exit, Failure, Outcome, json, unexpected};
use crate::config::MannerArgs;

/// Bytes of a key at most, in a file of keys.
const LONGEST_KEY: u64 = 65_536;

/// Which flag, and for whom.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// The document: JSON in flagd's schema.
    pub file: PathBuf,
    /// The flag.
    pub name: String,
    /// Who asks: the context's targetingKey; empty if it is left out, and who has none is in no share.
    #[arg(long, value_name = "KEY", conflicts_with = "keys")]
    pub key: Option<String>,
    /// Ask for every line of this file; prints one line of JSON for each.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// What rules can look at beside the key: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = context)]
    pub context: Option<Context>,
    /// The time that rules see, in seconds since 1970, instead of now.
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which flag of those that the box keeps, and for whom.
#[derive(Args, Clone, Debug)]
pub struct AskArgs {
    /// The flag.
    pub name: String,
    /// Who asks: the context's targetingKey; empty if it is left out, and who has none is in no share.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// What rules can look at beside the key: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = context)]
    pub context: Option<Context>,
    /// The time that rules see, in seconds since 1970, instead of now.
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<u64>,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// The flags that programs ask, from now on.
#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    /// The document: JSON in flagd's schema.
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    pub file: Option<PathBuf>,
    /// Take away what there is.
    #[arg(long)]
    pub none: bool,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// Which document.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The document: JSON in flagd's schema.
    pub file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What rules can look at.
#[derive(Clone, Debug, Default)]
pub struct Context(Map<String, Value>);

fn context(text: &str) -> Result<Context, Problem> {
    let cure = "write an object, such as {\"email\": \"a@example.org\"}";
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) if object.contains_key("targetingKey") => {
            Err(Problem::new(text, "the targetingKey is who asks", "write it with --key"))
        }
        Ok(Value::Object(object)) => Ok(Context(object)),
        Ok(_) => Err(Problem::new(text, "this is not a JSON object", cure)),
        Err(error) => Err(Problem::new(text, format!("this is not JSON ({error})"), cure)),
    }
}

impl EvalArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Outcome {
        let document = document(&self.file)?;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = self.at.unwrap_or_else(now);
        let mut context = self.context.clone().unwrap_or_default().0;
        let mut ask = |key: &str| {
            context.insert("targetingKey".to_owned(), key.into());
            VariantAnswer::of(&self.name, key, document.evaluate(&self.name, &context, now))
        };
        let Some(keys) = &self.keys else {
            return print(&ask(self.key.as_deref().unwrap_or_default()), self.json, out);
        };
        let mut out = BufWriter::new(out);
        let mut all = Exit::Done;
        each_line(keys, |key| {
            let found = ask(key);
            if exit(&found) == Exit::NotSo {
                all = Exit::NotSo;
            }
            json(&found, &mut out).map(drop)
        })?;
        out.flush()?;
        Ok(all)
    }
}

/// Prints one answer; the exit code is 1 where there is none.
fn print(found: &VariantAnswer, as_json: bool, out: &mut dyn Write) -> Outcome {
    let exit = exit(found);
    if as_json {
        return json(found, out).map(|_| exit);
    }
    let (flag, key, reason) = (one_line(&found.flag), one_line(&found.key), &found.reason);
    match (&found.error, &found.variant) {
        (Some(error), _) => writeln!(out, "{flag} for {key}: {reason}, {}: {}", error.code, one_line(&error.message))?,
        (None, Some(variant)) => {
            writeln!(out, "{flag} for {key}: {} = {} ({reason})", one_line(variant), found.value)?;
        }
        (None, None) => writeln!(out, "{flag} for {key}: the program's own default ({reason})")?,
    }
    Ok(exit)
}

fn exit(found: &VariantAnswer) -> Exit {
    if found.error.is_some() { Exit::NotSo } else { Exit::Done }
}

impl AskArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Outcome {
        let (flag, key) = (self.name.clone(), self.key.clone().unwrap_or_default());
        let context = self.context.clone().unwrap_or_default().0;
        match self.ask.call(&Request::FlagAsk { flag, key, context, at: self.at })? {
            Answer::Variant(found) => print(&found, self.ask.json, out),
            other => Err(unexpected(&self.ask.socket, &other).into()),
        }
    }
}

impl PublishArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Outcome {
        let document = self.file.as_deref().map(text).transpose()?;
        if let (Some(text), Some(path)) = (&document, &self.file) {
            // Judged here as well, so that the error names the file.
            text.parse::<ProgramFlags>().map_err(|error| Failure::Line(format!("{}: {error}", path.display())))?;
        }
        self.ask.change(&self.manner.around(Request::FlagPublish { document }), out)
    }
}

/// Prints the document that the box keeps.
pub(super) fn published(ask: &Ask, out: &mut dyn Write) -> Outcome {
    match ask.call(&Request::FlagDocument)? {
        Answer::Document(Some(text)) => {
            writeln!(out, "{}", text.trim_end())?;
            Ok(Exit::Done)
        }
        Answer::Document(None) => {
            writeln!(out, "{}", if ask.json { "null" } else { "no flags that programs ask; weir flag publish FILE" })?;
            Ok(Exit::NotSo)
        }
        other => Err(unexpected(&ask.socket, &other).into()),
    }
}

impl CheckArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Outcome {
        #[derive(Serialize)]
        struct Verdict {
            flags: usize,
            targeted: usize,
            disabled: usize,
        }
        let document = document(&self.file)?;
        let count =
            |which: fn(&weir_appliance_flags::Flag) -> bool| document.flags().filter(|(_, it)| which(it)).count();
        let verdict = Verdict {
            flags: count(|_| true),
            targeted: count(|flag| flag.targeting().is_some()),
            disabled: count(|flag| flag.state() == weir_appliance_flags::State::Disabled),
        };
        if self.json {
            return json(&verdict, out);
        }
        let Verdict { flags, targeted, disabled } = verdict;
        writeln!(out, "{}: sound: {flags} flags, {targeted} with a rule, {disabled} disabled", self.file.display())?;
        Ok(Exit::Done)
    }
}

/// The text of a file, no longer than it takes to see that it is too long for a document.
fn text(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(DOCUMENT_BYTES as u64 + 1).read_to_string(&mut text));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(text)
}

/// The document in a file.
pub(super) fn document(path: &Path) -> Result<Document, Failure> {
    Document::parse(&text(path)?).map_err(|error| Failure::Line(format!("{}: {error}", path.display())))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(path.display().to_string(), format!("it cannot be read: {error}"), "name a text file that is there")
}

/// Hands each line to `each`, without its end.
fn each_line(path: &Path, mut each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut file = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let read = file.by_ref().take(LONGEST_KEY + 1).read_line(&mut line);
        if read.map_err(|error| unreadable(path, &error))? == 0 {
            break;
        }
        let key = line.strip_suffix('\n').unwrap_or(&line);
        if key.len() as u64 > LONGEST_KEY {
            let place = format!("{}:{number}", path.display());
            return Err(
                Problem::new(place, format!("a key has at most {LONGEST_KEY} bytes"), "write one key a line").into()
            );
        }
        each(key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"flags": {
        "split": {"state": "ENABLED", "variants": {"a": "x", "b": "y"}, "defaultVariant": "b",
                  "targeting": {"fractional": [["a", 50], ["b", 50]]}},
        "late": {"state": "ENABLED", "variants": {"true": 1}, "targeting": {">": [{"var": "$flagd.timestamp"}, 7]}},
        "off": {"state": "DISABLED", "variants": {"a": true}}}}"#;

    /// A file that is gone with the test.
    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("weir-flag-{}-{name}", std::process::id()));
            std::fs::write(&path, text).expect("written");
            Self(path)
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn args(file: &Written, name: &str) -> EvalArgs {
        let (file, name) = (file.0.clone(), name.to_owned());
        EvalArgs { file, name, key: Some("user-0".into()), keys: None, context: None, at: Some(7), json: false }
    }

    fn printed(outcome: impl FnOnce(&mut Vec<u8>) -> Outcome) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = outcome(&mut out).expect("an answer");
        (exit, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn one_key_is_answered_in_words_and_in_json() {
        let file = Written::new("one.json", DOCUMENT);
        let split = args(&file, "split");
        assert_eq!(
            printed(|out| split.run(out)),
            (Exit::Done, "split for user-0: a = \"x\" (TARGETING_MATCH)\n".into())
        );
        let line = printed(|out| EvalArgs { json: true, ..split.clone() }.run(out)).1;
        let expected =
            r#"{"flag":"split","key":"user-0","variant":"a","value":"x","reason":"TARGETING_MATCH","error":null}"#;
        assert_eq!(line, format!("{expected}\n"));
        let off = printed(|out| args(&file, "off").run(out));
        assert_eq!(off, (Exit::Done, "off for user-0: the program's own default (DISABLED)\n".into()));
        let gone = printed(|out| EvalArgs { json: true, ..args(&file, "gone") }.run(out));
        assert_eq!(gone.0, Exit::NotSo);
        assert!(gone.1.contains(r#""reason":"ERROR","error":{"code":"FLAG_NOT_FOUND","#), "{}", gone.1);
    }

    #[test]
    fn who_has_no_key_is_answered_too() {
        let file = Written::new("nobody.json", DOCUMENT);
        let ask = |name: &str| printed(|out| EvalArgs { key: None, at: Some(8), ..args(&file, name) }.run(out));
        assert_eq!(ask("late"), (Exit::Done, "late for \"\": true = 1 (TARGETING_MATCH)\n".into()));
        // Without a key there is no bucket.
        assert_eq!(ask("split"), (Exit::Done, "split for \"\": b = \"y\" (DEFAULT)\n".into()));
    }

    #[test]
    fn the_time_can_be_said() {
        let file = Written::new("time.json", DOCUMENT);
        assert_eq!(printed(|out| args(&file, "late").run(out)).0, Exit::NotSo, "false is no variant");
        let later = EvalArgs { at: Some(8), ..args(&file, "late") };
        assert_eq!(printed(|out| later.run(out)), (Exit::Done, "late for user-0: true = 1 (TARGETING_MATCH)\n".into()));
    }

    #[test]
    fn every_line_of_a_file_is_a_key() {
        let file = Written::new("many.json", DOCUMENT);
        let keys = Written::new("keys", "user-0\nuser-1\n\nlast");
        let many = EvalArgs { key: None, keys: Some(keys.0.clone()), ..args(&file, "split") };
        let (exit, text) = printed(|out| many.run(out));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
        assert_eq!((exit, of("key")), (Exit::Done, vec!["user-0".into(), "user-1".into(), "".into(), "last".into()]));
        // Without a key there is no bucket: the default.
        assert_eq!((&of("reason")[2], &of("variant")[2]), (&"DEFAULT".into(), &"b".into()));
        let long = Written::new("long", &"x".repeat(70_000));
        let error =
            EvalArgs { keys: Some(long.0.clone()), ..many }.run(&mut Vec::new()).expect_err("too long").to_string();
        assert!(error.contains(":1: a key has at most 65536 bytes; write one key a line"), "{error}");
    }

    #[test]
    fn documents_are_judged() {
        let file = Written::new("good.json", DOCUMENT);
        let check = |file: &Written, json| CheckArgs { file: file.0.clone(), json };
        assert_eq!(printed(|out| check(&file, true).run(out)).1, "{\"flags\":3,\"targeted\":2,\"disabled\":1}\n");
        assert!(
            printed(|out| check(&file, false).run(out)).1.ends_with(": sound: 3 flags, 2 with a rule, 1 disabled\n")
        );
        let bad = Written::new("bad.json", r#"{"flags": {"f": {"state": "ENABLED", "variants": {}}}}"#);
        let error = check(&bad, false).run(&mut Vec::new()).expect_err("bad").to_string();
        assert!(error.contains("bad.json: flag f: variants: there is none; write at least one variant"), "{error}");
        let long = Written::new("long.json", &" ".repeat(DOCUMENT_BYTES + 9));
        let error = check(&long, false).run(&mut Vec::new()).expect_err("long").to_string();
        assert!(error.contains("a document has at most 1048576 bytes"), "{error}");
    }
}
