//! Targeting rules, compiled: operators known, arguments counted, references followed, depth bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{FlagError, shown};
use crate::{DEPTH, fractional, version};

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// Null, a boolean, a number or a text.
    Literal(Value),
    List(Vec<Rule>),
    Call(Operator, Vec<Rule>),
    /// An evaluator of the document, which several rules may refer to.
    Shared(Arc<Rule>),
}

impl Rule {
    /// The rule for a person, as far as a message needs it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Literal(value) => value.to_string(),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Call(operator, _) => operator.name().to_owned(),
            Self::Shared(_) => "$ref".to_owned(),
        }
    }
}

macro_rules! operators {
    ($($name:literal $variant:ident $least:literal $most:expr;)*) => {
        /// What a rule can do: JSON Logic's operators, without those that do output, and flagd's own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operator { $($variant,)* }

        impl Operator {
            const ALL: &'static [(&'static str, Self, usize, usize)] = &[$(($name, Self::$variant, $least, $most),)*];
        }
    };
}

const ANY: usize = usize::MAX;

operators! {
    "var" Var 0 2;
    "missing" Missing 0 ANY;
    "missing_some" MissingSome 2 2;
    "if" If 2 ANY;
    "?:" Choose 3 3;
    "and" And 1 ANY;
    "or" Or 1 ANY;
    "!" Not 1 1;
    "!!" Truth 1 1;
    "==" Equal 2 2;
    "!=" NotEqual 2 2;
    "===" Same 2 2;
    "!==" NotSame 2 2;
    "<" Less 2 3;
    "<=" LessOrEqual 2 3;
    ">" Greater 2 3;
    ">=" GreaterOrEqual 2 3;
    "+" Add 1 ANY;
    "-" Subtract 1 2;
    "*" Multiply 1 ANY;
    "/" Divide 2 2;
    "%" Remainder 2 2;
    "min" Least 1 ANY;
    "max" Most 1 ANY;
    "in" In 2 2;
    "cat" Cat 1 ANY;
    "substr" Substring 2 3;
    "merge" Merge 1 ANY;
    "map" MapEach 2 2;
    "filter" Filter 2 2;
    "reduce" Reduce 2 3;
    "all" AllHold 2 2;
    "some" SomeHold 2 2;
    "none" NoneHold 2 2;
    "fractional" Fractional 1 ANY;
    "starts_with" StartsWith 2 2;
    "ends_with" EndsWith 2 2;
    "sem_ver" SemVer 3 3;
}

impl Operator {
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }

    fn find(name: &str) -> Option<(Self, usize, usize)> {
        Self::ALL.iter().find(|row| row.0 == name).map(|row| (row.1, row.2, row.3))
    }
}

/// Compiles the rules of one document.
pub(crate) struct Compiler<'d> {
    evaluators: &'d Map<String, Value>,
    /// Evaluators that are compiled, with their heights.
    done: BTreeMap<&'d str, (Arc<Rule>, usize)>,
    /// Evaluators that are being compiled: a reference to one of them would never end.
    open: Vec<&'d str>,
}

impl<'d> Compiler<'d> {
    /// With a document's evaluators, each of them compiled, whether a flag refers to it or not.
    pub(crate) fn new(evaluators: &'d Map<String, Value>) -> Result<Self, FlagError> {
        let mut compiler = Self { evaluators, done: BTreeMap::new(), open: Vec::new() };
        for name in evaluators.keys() {
            compiler.evaluator(name, 0).map_err(|error| FlagError {
                cause: format!("{} (in $evaluators, {})", error.cause, shown(name)),
                ..error
            })?;
        }
        Ok(compiler)
    }

    /// A flag's rule.
    pub(crate) fn compile(&mut self, value: &Value) -> Result<Rule, FlagError> {
        self.rule(value, 0).map(|(rule, _)| rule)
    }

    /// A rule `depth` levels below its flag or evaluator, and its height.
    fn rule(&mut self, value: &Value, depth: usize) -> Result<(Rule, usize), FlagError> {
        if depth >= DEPTH {
            return Err(too_deep(value.to_string()));
        }
        match value {
            Value::Array(items) => {
                let (items, height) = self.rules(items, depth)?;
                Ok((Rule::List(items), height))
            }
            Value::Object(object) => self.call(object, depth),
            literal => Ok((Rule::Literal(literal.clone()), 1)),
        }
    }

    fn rules(&mut self, values: &[Value], depth: usize) -> Result<(Vec<Rule>, usize), FlagError> {
        let mut rules = Vec::with_capacity(values.len());
        let mut height = 1;
        for value in values {
            let (rule, below) = self.rule(value, depth + 1)?;
            rules.push(rule);
            height = height.max(1 + below);
        }
        Ok((rules, height))
    }

    fn call(&mut self, object: &Map<String, Value>, depth: usize) -> Result<(Rule, usize), FlagError> {
        let mut entries = object.iter();
        let (Some((name, args)), None) = (entries.next(), entries.next()) else {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            let cause = format!("a rule has one operator, this has {}", object.len());
            return Err(FlagError::new(
                format!("{{{}}}", keys.join(", ")),
                cause,
                "write one operator for each object",
            ));
        };
        if name == "$ref" {
            let Some(name) = args.as_str() else {
                return Err(FlagError::new(args.to_string(), "a $ref is a text", "name one of $evaluators"));
            };
            let (rule, height) = self.evaluator(name, depth)?;
            return if depth + height > DEPTH { Err(too_deep(name)) } else { Ok((Rule::Shared(rule), height)) };
        }
        let Some((operator, least, most)) = Operator::find(name) else {
            return Err(FlagError::new(
                name,
                "there is no such operator",
                "use JSON Logic's operators and flagd's own",
            ));
        };
        // A single argument may stand without its list.
        let (args, height) = self.rules(args.as_array().map_or(std::slice::from_ref(args), Vec::as_slice), depth)?;
        if args.len() < least || args.len() > most {
            let cause = format!("it has {} arguments, and takes {}", args.len(), counts(least, most));
            return Err(FlagError::new(name, cause, "write as many as it takes"));
        }
        match operator {
            Operator::Fractional => fractional::check(&args)?,
            Operator::SemVer => check_versions(&args)?,
            _ => {}
        }
        Ok((Rule::Call(operator, args), height))
    }

    fn evaluator(&mut self, name: &str, depth: usize) -> Result<(Arc<Rule>, usize), FlagError> {
        if let Some((rule, height)) = self.done.get(name) {
            return Ok((Arc::clone(rule), *height));
        }
        let evaluators = self.evaluators;
        let Some((name, value)) = evaluators.get_key_value(name) else {
            return Err(FlagError::new(name, "no evaluator has this name", "write it under $evaluators"));
        };
        if self.open.contains(&name.as_str()) {
            return Err(FlagError::new(name.as_str(), "this evaluator refers to itself", "take one reference out"));
        }
        self.open.push(name);
        let (rule, height) = self.rule(value, depth)?;
        self.open.pop();
        let rule = Arc::new(rule);
        self.done.insert(name, (Arc::clone(&rule), height));
        Ok((rule, height))
    }
}

fn too_deep(value: impl Into<String>) -> FlagError {
    let cause = format!("with what it refers to, the rule is deeper than {DEPTH} levels");
    FlagError::new(value, cause, "write it flatter: one `if` takes any number of conditions")
}

fn counts(least: usize, most: usize) -> String {
    match most {
        ANY => format!("{least} or more"),
        _ if least == most => least.to_string(),
        _ => format!("{least} to {most}"),
    }
}

/// Refuses operators and versions that are written out and are none.
fn check_versions(args: &[Rule]) -> Result<(), FlagError> {
    for (at, arg) in args.iter().enumerate() {
        let Rule::Literal(value) = arg else { continue };
        let number = value.is_number().then(|| value.to_string());
        let text = value.as_str().or(number.as_deref()).unwrap_or_default();
        if at == 1 && !version::OPERATORS.contains(&text) {
            let cure = "write one of: = != < <= > >= ^ ~";
            return Err(FlagError::new(value.to_string(), "sem_ver has no such operator", cure));
        }
        if at != 1 && version::parse(text).is_none() {
            return Err(FlagError::new(value.to_string(), "this is not a version", "write MAJOR.MINOR.PATCH"));
        }
    }
    Ok(())
}
