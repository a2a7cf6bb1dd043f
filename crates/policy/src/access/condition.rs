//! Conditions of rules, in CEL: compiled once, bounded, and never true by accident.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::extractors::This;
use cel::objects::{Key, Map, Value};
use cel::parser::ParseError;
use cel::{Context, Env, Program};
use regex::Regex;
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Target, TargetKind};

use self::walk::{Walk, bracket_depth};
use super::arguments::Arguments;

mod walk;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 2048;
/// How much work an expression with loops may be, in values gone through and copied.
const MAX_WORK: usize = 2_000_000;
/// The same, in bytes of text gone through.
const MAX_TEXT_WORK: usize = 64 * 1024 * 1024;

static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// What an expression looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) arguments: bool,
    /// `tool`, `name` or `backend`.
    pub(super) target: bool,
    pub(super) principal: bool,
    pub(super) claims: bool,
    pub(super) profile: bool,
}

/// A condition, compiled.
pub(super) struct Condition {
    program: Program,
    pub(super) needs: Needs,
    /// Its regular expressions, by what is written.
    regexes: Arc<HashMap<String, Regex>>,
    /// How deep its loops stand in each other; 0: it has none.
    loops: u32,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition")
            .field(&self.program.source_info().source)
            .finish()
    }
}

/// Why an expression is no condition: where, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .at.map_or_else(String::new, |(line, column)| format!("is wrong at line {line}, column {column}: ")))]
pub(super) struct ConditionError {
    /// Line and column, from 1.
    at: Option<(usize, usize)>,
    message: String,
}

/// Why a condition could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("it failed: {0}")]
    Execution(String),
    #[error("its value is no `true` or `false`")]
    NotBoolean,
    #[error("it would have to go through too much")]
    TooMuchWork,
}

/// What a condition is evaluated for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    pub(super) principal: &'f Principal,
    pub(super) profile: Option<&'f str>,
    pub(super) target: Option<&'f Target<'f>>,
    pub(super) arguments: Option<&'f Arguments>,
}

impl Condition {
    pub(super) fn compile(text: &str) -> Result<Self, ConditionError> {
        let whole = |message: String| ConditionError { at: None, message };
        if text.trim().is_empty() {
            return Err(whole("is empty; expected a condition, or no `when`".into()));
        }
        if text.len() > MAX_LENGTH {
            return Err(whole(format!(
                "has {} bytes; expected at most {MAX_LENGTH}",
                text.len()
            )));
        }
        bracket_depth(text).map_err(whole)?;
        // The parser is not ours: what it does not foresee is a mistake in what it was given.
        let compiled = catch_unwind(AssertUnwindSafe(|| ENVIRONMENT.compile(text)));
        let program = compiled
            .map_err(|_| whole("cannot be read; expected an expression in CEL".into()))?
            .map_err(|errors| syntax_error(&errors.errors))?;
        let walk = Walk::through(&program)?;
        let (needs, regexes, loops) = (walk.needs, Arc::new(walk.regexes), walk.loops);
        Ok(Self {
            program,
            needs,
            regexes,
            loops,
        })
    }

    /// Whether it holds. Never `true` where it fails or is no boolean.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failure> {
        self.check_work(facts)?;
        let run = || {
            let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
            if !self.regexes.is_empty() {
                let regexes = Arc::clone(&self.regexes);
                let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
                    regexes
                        .get(&*pattern)
                        .is_some_and(|regex| regex.is_match(&text))
                };
                // Without it the expression fails, which is safe.
                let _ = context.add_function("matches", matches);
            }
            self.bind(&mut context, facts);
            self.program.execute(&context)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(_)) => Err(Failure::NotBoolean),
            Ok(Err(error)) => Err(Failure::Execution(error.to_string())),
            Err(_) => Err(Failure::Execution("unexpectedly".into())),
        }
    }

    /// Whether there is too much to go through for its loops.
    pub(super) fn check_work(&self, facts: &Facts<'_>) -> Result<(), Failure> {
        if self.loops == 0 {
            return Ok(());
        }
        let (values, bytes) = facts
            .arguments
            .map_or((1, 0), |arguments| (arguments.values, arguments.bytes));
        let values = values + facts.principal.groups.len();
        let steps = values.saturating_pow(self.loops);
        let is_bounded = steps.saturating_mul(values) <= MAX_WORK
            && steps.saturating_mul(bytes) <= MAX_TEXT_WORK;
        is_bounded.then_some(()).ok_or(Failure::TooMuchWork)
    }

    fn bind(&self, context: &mut Context<'_, '_>, facts: &Facts<'_>) {
        let needs = self.needs;
        if needs.arguments
            && let Some(arguments) = facts.arguments
        {
            context.add_variable_from_value("args", arguments.value.clone());
        }
        if needs.principal {
            context.add_variable_from_value("principal", principal(facts.principal));
        }
        if needs.claims {
            context.add_variable_from_value("claims", claims(facts.principal));
        }
        if needs.profile {
            context.add_variable_from_value("profile", facts.profile.unwrap_or_default());
        }
        if needs.target
            && let Some(target) = facts.target
        {
            let is_tool = target.kind == TargetKind::Tool;
            context.add_variable_from_value("tool", if is_tool { target.name } else { "" });
            context.add_variable_from_value("name", target.name);
            context.add_variable_from_value("backend", target.backend);
        }
    }
}

fn map(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    let members = members.into_iter();
    Value::Map(Map {
        map: Arc::new(
            members
                .map(|(key, value)| (Key::String(Arc::new(key)), value))
                .collect(),
        ),
    })
}

fn principal(principal: &Principal) -> Value {
    let groups = principal.groups.iter().map(|group| Value::from(&**group));
    map([
        ("id".to_owned(), Value::from(&*principal.id)),
        ("groups".to_owned(), Value::List(Arc::new(groups.collect()))),
        (
            "client".to_owned(),
            Value::from(principal.client.as_deref().unwrap_or_default()),
        ),
    ])
}

fn claims(principal: &Principal) -> Value {
    let claims = principal.claims.iter().flat_map(|claims| claims.iter());
    map(claims.map(|(name, value)| (name.clone(), json_value(value))))
}

/// A claim. Its token was read with a bound on its depth.
fn json_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(value)) => Value::Float(value),
            (None, None) => Value::Null,
        },
        serde_json::Value::String(text) => Value::from(&**text),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.iter().map(json_value).collect()))
        }
        serde_json::Value::Object(members) => map(members
            .iter()
            .map(|(key, value)| (key.clone(), json_value(value)))),
    }
}

fn syntax_error(errors: &[ParseError]) -> ConditionError {
    let first = errors.first();
    // Counted from 1 by line and from 0 by column, or from 0 where nothing is known.
    let at = first.and_then(|error| {
        let line = usize::try_from(error.pos.0).ok().filter(|line| *line > 0)?;
        Some((line, usize::try_from(error.pos.1).ok()?.max(1)))
    });
    let said = first.map_or("", |error| error.msg.as_str());
    let said = said.trim_start_matches("Syntax error: ");
    let said = said.split(" expecting ").next().unwrap_or_default();
    let said = if said.contains("<EOF>") && !said.starts_with("extraneous") {
        "it ends too early"
    } else {
        said
    };
    ConditionError {
        at,
        message: format!(
            "{said}; expected an expression in CEL such as `args.path.startsWith('/srv/')`"
        ),
    }
}

#[cfg(test)]
mod tests;
