//! A walk through a condition before it is accepted: what it looks at, and whether it is bounded.

use std::collections::HashMap;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};
use cel::{IdedExpr, Program};
use regex::Regex;

use super::{ConditionError, Needs};

/// How deep an expression may nest: it is evaluated recursively.
const MAX_DEPTH: usize = 48;
/// How deep `all`, `exists`, `map` and the like may stand in each other.
const MAX_LOOPS: u32 = 2;
/// The largest automaton of a regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1024 * 1024;

const VARIABLES: [&str; 7] = [
    "args",
    "principal",
    "claims",
    "tool",
    "name",
    "backend",
    "profile",
];
/// The names of types, which stand for themselves.
const TYPES: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];
const FUNCTIONS: [&str; 13] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// Refuses what would take the parser's stack, before it sees it.
pub(super) fn bracket_depth(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
    }
    Ok(())
}

fn too_deep() -> String {
    format!("nests deeper than {MAX_DEPTH} levels; expected a simpler condition, or several rules")
}

/// A walk through an expression: what it looks at, and whether it is bounded.
pub(super) struct Walk<'p> {
    program: &'p Program,
    /// The variables of the loops around.
    scope: Vec<&'p str>,
    pub(super) needs: Needs,
    /// The regular expressions of its calls of `matches`.
    pub(super) regexes: HashMap<String, Regex>,
    /// How deep its loops stand in each other.
    pub(super) loops: u32,
}

impl<'p> Walk<'p> {
    /// Walks through all of it.
    pub(super) fn through(program: &'p Program) -> Result<Self, ConditionError> {
        let mut walk = Self {
            program,
            scope: Vec::new(),
            needs: Needs::default(),
            regexes: HashMap::new(),
            loops: 0,
        };
        walk.expression(program.expression(), 0, 0)?;
        Ok(walk)
    }

    fn wrong(&self, at: &IdedExpr, message: String) -> ConditionError {
        let info = self.program.source_info();
        let at = info.offset_for(at.id).map(|(start, _)| {
            let before: String = info.source.chars().take(start as usize).collect();
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1;
            (line, column)
        });
        ConditionError { at, message }
    }

    fn all(
        &mut self,
        expressions: impl IntoIterator<Item = &'p IdedExpr>,
        depth: usize,
        loops: u32,
    ) -> Result<(), ConditionError> {
        expressions
            .into_iter()
            .try_for_each(|expression| self.expression(expression, depth, loops))
    }

    fn expression(
        &mut self,
        at: &'p IdedExpr,
        depth: usize,
        loops: u32,
    ) -> Result<(), ConditionError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(at, too_deep()));
        }
        let depth = depth + 1;
        match &at.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.identifier(at, name),
            Expr::Select(select) => self.expression(&select.operand, depth, loops),
            Expr::List(list) => self.all(&list.elements, depth, loops),
            Expr::Map(map) => map
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr, depth, loops)),
            Expr::Struct(_) => {
                let message = "there are no such types; expected a condition over what is known of \
                               a call";
                Err(self.wrong(at, message.into()))
            }
            Expr::Call(call) => self.call(at, call, depth, loops),
            Expr::Comprehension(one) => {
                let inner = loops + 1;
                if inner > MAX_LOOPS {
                    let message = format!(
                        "more than {MAX_LOOPS} of `all`, `exists`, `map`, `filter` stand in each \
                         other; expected fewer"
                    );
                    return Err(self.wrong(at, message));
                }
                self.loops = self.loops.max(inner);
                self.all([&one.iter_range, &one.accu_init], depth, loops)?;
                let around = self.scope.len();
                let variables = [
                    Some(&one.iter_var),
                    one.iter_var2.as_ref(),
                    Some(&one.accu_var),
                ];
                self.scope
                    .extend(variables.into_iter().flatten().map(|name| &**name));
                self.all([&one.loop_cond, &one.loop_step, &one.result], depth, inner)?;
                self.scope.truncate(around);
                Ok(())
            }
        }
    }

    fn entry(
        &mut self,
        entry: &'p EntryExpr,
        depth: usize,
        loops: u32,
    ) -> Result<(), ConditionError> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value, depth, loops),
            EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value], depth, loops),
        }
    }

    fn identifier(&mut self, at: &'p IdedExpr, name: &'p str) -> Result<(), ConditionError> {
        // A dot in front skips the variables of loops.
        let (is_global, bare) = match name.strip_prefix('.') {
            Some(bare) => (true, bare),
            None => (false, name),
        };
        if !is_global && (name.starts_with('@') || self.scope.contains(&name)) {
            return Ok(());
        }
        match bare {
            "args" => self.needs.arguments = true,
            "principal" => self.needs.principal = true,
            "claims" => self.needs.claims = true,
            "profile" => self.needs.profile = true,
            "tool" | "name" | "backend" => self.needs.target = true,
            other if TYPES.contains(&other) => {}
            other => {
                let message = format!(
                    "there is no variable `{other}`; expected one of {}",
                    listed(&VARIABLES)
                );
                return Err(self.wrong(at, message));
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        at: &'p IdedExpr,
        call: &'p CallExpr,
        depth: usize,
        loops: u32,
    ) -> Result<(), ConditionError> {
        let name = &*call.func_name;
        let is_operator = name.contains('_') || name.starts_with('@');
        if !is_operator && !FUNCTIONS.contains(&name) {
            let message = format!(
                "there is no function `{name}`; expected one of {}, or `has`, `all`, `exists`, \
                 `exists_one`, `map`, `filter`",
                listed(&FUNCTIONS)
            );
            return Err(self.wrong(at, message));
        }
        if name == "matches" {
            self.regex(at, call)?;
        }
        self.all(call.target.as_deref(), depth, loops)?;
        self.all(&call.args, depth, loops)
    }

    /// Regular expressions are compiled with the rule, so what they are cannot be a caller's.
    fn regex(&mut self, at: &'p IdedExpr, call: &'p CallExpr) -> Result<(), ConditionError> {
        let pattern = match (&call.target, &*call.args) {
            (
                Some(_),
                [
                    IdedExpr {
                        expr: Expr::Literal(LiteralValue::String(text)),
                        ..
                    },
                ],
            ) => text.inner().to_owned(),
            _ => {
                let message = "`matches` takes a regular expression in quotes; expected \
                               `TEXT.matches('…')`";
                return Err(self.wrong(at, message.into()));
            }
        };
        let built = regex::RegexBuilder::new(&pattern)
            .size_limit(MAX_REGEX_BYTES)
            .build();
        match built {
            Ok(regex) => {
                self.regexes.insert(pattern, regex);
                Ok(())
            }
            Err(_) => {
                let message = "`matches` has no regular expression, or too large a one; expected \
                               the syntax of RE2";
                Err(self.wrong(at, message.into()))
            }
        }
    }
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
