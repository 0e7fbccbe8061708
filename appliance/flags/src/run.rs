//! One evaluation of one rule: what it may still spend, and what its parts mean where they stand.

use std::borrow::Cow;
use std::rc::Rc;

use crate::item::{Item, List};
use crate::operators;
use crate::rule::{Operator, Rule};
use crate::{DEPTH, MADE_BYTES, STEPS};

/// Why an evaluation ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the rule takes more than {STEPS} steps with this context; look at fewer list elements")]
    Steps,
    #[error("the rule makes more than {MADE_BYTES} bytes of text; join less")]
    Text,
    #[error("the rule makes lists deeper than {DEPTH} levels; nest less")]
    Depth,
}

/// What `var` looks into.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'s, 'a> {
    /// The whole context, or the element that a list's operator is at.
    Value(&'s Item<'a>),
    /// What `reduce` gives to its rule.
    Fold { current: &'s Item<'a>, accumulator: &'s Item<'a> },
}

/// A running evaluation.
pub(crate) struct Run<'a> {
    root: Item<'a>,
    steps: usize,
    made: usize,
}

impl<'a> Run<'a> {
    /// Over a context that has `$flagd` in it.
    pub(crate) fn new(root: Item<'a>) -> Self {
        Self { root, steps: STEPS, made: MADE_BYTES }
    }

    /// The whole context.
    pub(crate) fn root(&self) -> &Item<'a> {
        &self.root
    }

    /// The rule's value.
    pub(crate) fn evaluate(&mut self, rule: &'a Rule) -> Result<Item<'a>, Stop> {
        let root = self.root.clone();
        self.rule(rule, Scope::Value(&root))
    }

    /// Spends steps.
    pub(crate) fn charge(&mut self, steps: usize) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::Steps)?;
        Ok(())
    }

    /// Spends what looking at so many bytes costs.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> Result<(), Stop> {
        self.charge(bytes / 64)
    }

    /// A text that the rule makes.
    pub(crate) fn make(&mut self, text: &str) -> Result<Item<'a>, Stop> {
        self.made = self.made.checked_sub(text.len()).ok_or(Stop::Text)?;
        Ok(Item::Made(text.into()))
    }

    /// A list that the rule makes.
    pub(crate) fn list(&mut self, items: Vec<Item<'a>>) -> Result<Item<'a>, Stop> {
        self.charge(items.len())?;
        let depths = items.iter().map(|item| if let Item::List(list) = item { list.depth } else { 0 });
        let depth = 1 + depths.max().unwrap_or(0);
        if depth > DEPTH { Err(Stop::Depth) } else { Ok(Item::List(Rc::new(List { items, depth }))) }
    }

    /// A part of the rule.
    pub(crate) fn rule(&mut self, rule: &'a Rule, scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        self.charge(1)?;
        match rule {
            Rule::Literal(value) => Ok(value.into()),
            Rule::List(items) => {
                let items = self.rules(items, scope)?;
                self.list(items)
            }
            Rule::Shared(rule) => self.rule(rule, scope),
            Rule::Call(operator, args) => match operator {
                Operator::If | Operator::Choose => self.choose(args, scope),
                Operator::And => self.first(args, scope, |item| !item.holds()),
                Operator::Or => self.first(args, scope, Item::holds),
                Operator::Filter => self.filter(args, scope),
                Operator::MapEach => self.map(args, scope),
                Operator::Reduce => self.reduce(args, scope),
                Operator::AllHold | Operator::SomeHold | Operator::NoneHold => self.quantify(*operator, args, scope),
                _ => {
                    let args = self.rules(args, scope)?;
                    operators::apply(*operator, &args, scope, self)
                }
            },
        }
    }

    fn rules(&mut self, rules: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Vec<Item<'a>>, Stop> {
        rules.iter().map(|rule| self.rule(rule, scope)).collect()
    }

    /// Conditions and their values in turn; a last one without a condition is the value of all else.
    fn choose(&mut self, args: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        let mut left = args;
        while let [condition, value, rest @ ..] = left {
            if self.rule(condition, scope)?.holds() {
                return self.rule(value, scope);
            }
            left = rest;
        }
        if let [otherwise] = left {
            return self.rule(otherwise, scope);
        }
        Ok(Item::Null)
    }

    /// The first value that will do, else the last one.
    fn first(
        &mut self,
        args: &'a [Rule],
        scope: Scope<'_, 'a>,
        will_do: fn(&Item<'a>) -> bool,
    ) -> Result<Item<'a>, Stop> {
        let mut last = Item::Null;
        for arg in args {
            last = self.rule(arg, scope)?;
            if will_do(&last) {
                break;
            }
        }
        Ok(last)
    }

    fn filter(&mut self, args: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        let [from, test] = args else { return Ok(Item::Null) };
        let mut kept = Vec::new();
        for item in self.rule(from, scope)?.elements() {
            if self.rule(test, Scope::Value(&item))?.holds() {
                kept.push(item);
            }
        }
        self.list(kept)
    }

    fn map(&mut self, args: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        let [from, to] = args else { return Ok(Item::Null) };
        let mut made = Vec::new();
        for item in self.rule(from, scope)?.elements() {
            made.push(self.rule(to, Scope::Value(&item))?);
        }
        self.list(made)
    }

    fn reduce(&mut self, args: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        let [from, step, start @ ..] = args else { return Ok(Item::Null) };
        let from = self.rule(from, scope)?;
        let mut accumulator = match start.first() {
            Some(start) => self.rule(start, scope)?,
            None => Item::Null,
        };
        for current in from.elements() {
            accumulator = self.rule(step, Scope::Fold { current: &current, accumulator: &accumulator })?;
        }
        Ok(accumulator)
    }

    /// `all`, `some` and `none`. Of an empty list, and of what is no list, all is false and none is true.
    fn quantify(&mut self, operator: Operator, args: &'a [Rule], scope: Scope<'_, 'a>) -> Result<Item<'a>, Stop> {
        let [from, test] = args else { return Ok(Item::Null) };
        let from = self.rule(from, scope)?;
        let looked_for = operator != Operator::AllHold;
        let mut found = false;
        for item in from.elements() {
            if self.rule(test, Scope::Value(&item))?.holds() == looked_for {
                found = true;
                break;
            }
        }
        Ok(Item::Bool(match operator {
            Operator::SomeHold => found,
            Operator::NoneHold => !found,
            _ => !found && from.length().is_some_and(|length| length > 0),
        }))
    }

    /// The text that an item counts as; null is no text at all, as where JSON Logic was born.
    pub(crate) fn text<'i>(&mut self, item: &'i Item<'a>) -> Result<Cow<'i, str>, Stop> {
        self.charge(1)?;
        Ok(match item {
            Item::Null => "".into(),
            Item::Bool(value) => if *value { "true" } else { "false" }.into(),
            Item::Number(number) => number.to_string().into(),
            Item::Text(text) => {
                self.charge_bytes(text.len())?;
                (*text).into()
            }
            Item::Made(text) => {
                self.charge_bytes(text.len())?;
                (&**text).into()
            }
            Item::Array(_) | Item::List(_) => {
                let mut joined = String::new();
                for (at, element) in item.elements().enumerate() {
                    if at > 0 {
                        joined.push(',');
                    }
                    joined.push_str(&self.text(&element)?);
                    if joined.len() > MADE_BYTES {
                        return Err(Stop::Text);
                    }
                }
                joined.into()
            }
            Item::Object(_) => "[object Object]".into(),
        })
    }
}
