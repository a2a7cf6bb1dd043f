//! URI templates (RFC 6570), matched and never expanded: which backend may own this resource?
//!
//! A template becomes a small automaton that is run over the URI byte by byte in all its states at
//! once. There is no backtracking, so the time is bounded by the length of the URI times that of
//! the template, whoever wrote the two.

#[cfg(test)]
mod tests;

/// The longest template that is read, in bytes.
pub const MAX_TEMPLATE_LEN: usize = 1024;
/// The longest URI that a template can match, in bytes.
pub const MAX_URI_LEN: usize = 4 * 1024;
/// The most expressions in a template: the time that matching takes grows with them.
pub const MAX_EXPRESSIONS: usize = 32;

/// A template that URIs are matched against.
///
/// It matches every expansion of the template, and somewhat more, since people write URIs by hand:
///
/// - `{var}` and the list forms stand for any text without `/`, `?` and `#`, the empty one
///   included, whether its other characters are percent-encoded or not. `{+var}` and `{#var}` stand
///   for any text at all.
/// - `{?a,b}` and `{&a,b}` take their parameters in any order and number; an exploded variable
///   (`{?rest*}`) admits any parameter. So does `{;a,b}` in its place.
/// - A length (`{var:3}`) is not enforced, nor that a variable which occurs twice has one value.
/// - A literal character outside ASCII matches as it is and percent-encoded.
#[derive(Debug, Clone)]
pub struct UriTemplate {
    /// What every match begins with, checked first: most URIs end here.
    prefix: Box<[u8]>,
    /// Run over the rest of the URI.
    program: Box<[Step]>,
    specificity: usize,
}

/// Why a text is no URI template. Offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is longer than [`MAX_TEMPLATE_LEN`].
    #[error("the template is longer than {MAX_TEMPLATE_LEN} bytes")]
    TooLong,
    /// It has more than [`MAX_EXPRESSIONS`].
    #[error("the template has more than {MAX_EXPRESSIONS} expressions")]
    TooManyExpressions,
    /// A brace without its partner.
    #[error("unbalanced brace at byte {at}")]
    UnbalancedBrace {
        /// Where.
        at: usize,
    },
    /// An operator that RFC 6570 reserves for extensions.
    #[error("unknown operator at byte {at}")]
    UnknownOperator {
        /// Where.
        at: usize,
    },
    /// A variable without a name, or with a modifier that is neither `*` nor `:` and a length.
    #[error("a variable without a proper name or modifier in the expression at byte {at}")]
    BadVariable {
        /// Where the expression begins.
        at: usize,
    },
}

/// An instruction of the automaton; it goes on at the next one unless it says otherwise.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Takes this byte.
    Byte(u8),
    /// Takes this letter in either case, or this digit.
    AnyCase(u8),
    /// Takes one byte of a variable.
    Value(Stop),
    /// Goes on at the next one and at this one.
    Fork(usize),
    /// Goes on at this one only.
    Jump(usize),
    /// The URI matches if it ends here.
    End,
}

/// What a variable's text cannot contain.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Nothing,
    Segment,
    PathParameter,
    QueryParameter,
}

impl Stop {
    fn admits(self, byte: u8) -> bool {
        !match self {
            Self::Nothing => false,
            Self::Segment => matches!(byte, b'/' | b'?' | b'#'),
            Self::PathParameter => matches!(byte, b';' | b'/' | b'?' | b'#'),
            Self::QueryParameter => matches!(byte, b'&' | b'#'),
        }
    }
}

impl UriTemplate {
    /// Reads a template. Names of variables may have characters that RFC 6570 does not know, as in
    /// `{user-id}`.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        if template.len() > MAX_TEMPLATE_LEN {
            return Err(TemplateError::TooLong);
        }
        let mut prefix = Vec::new();
        let mut compiler = Compiler::default();
        let mut specificity = 0;
        let mut expressions = 0;
        let mut at = 0;
        while let Some(&byte) = template.as_bytes().get(at) {
            match byte {
                b'{' => {
                    let rest = &template[at + 1..];
                    let end = rest
                        .find(['{', '}'])
                        .filter(|&end| rest[end..].starts_with('}'))
                        .ok_or(TemplateError::UnbalancedBrace { at })?;
                    expressions += 1;
                    if expressions > MAX_EXPRESSIONS {
                        return Err(TemplateError::TooManyExpressions);
                    }
                    compiler.expression(&rest[..end], at)?;
                    at += end + 2;
                    continue;
                }
                b'}' => return Err(TemplateError::UnbalancedBrace { at }),
                _ if byte.is_ascii() && compiler.steps.is_empty() => prefix.push(byte),
                _ => compiler.literal(byte),
            }
            specificity += 1;
            at += 1;
        }
        compiler.steps.push(Step::End);
        Ok(Self {
            prefix: prefix.into(),
            program: compiler.steps.into(),
            specificity,
        })
    }

    /// Whether the whole URI matches. One longer than [`MAX_URI_LEN`] never does.
    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        if uri.len() > MAX_URI_LEN {
            return false;
        }
        let Some(rest) = uri.as_bytes().strip_prefix(&*self.prefix) else {
            return false;
        };
        let mut now = States::new(self.program.len());
        let mut next = States::new(self.program.len());
        now.add(&self.program, 0);
        for &byte in rest {
            for &state in &now.active {
                let taken = match self.program[state] {
                    Step::Byte(own) => own == byte,
                    Step::AnyCase(own) => own.eq_ignore_ascii_case(&byte),
                    Step::Value(stop) => stop.admits(byte),
                    Step::Fork(_) | Step::Jump(_) | Step::End => false,
                };
                if taken {
                    next.add(&self.program, state + 1);
                }
            }
            std::mem::swap(&mut now, &mut next);
            next.clear();
            if now.active.is_empty() {
                return false;
            }
        }
        now.active
            .iter()
            .any(|&state| matches!(self.program[state], Step::End))
    }

    /// How many bytes of the template are literal: of two templates that match, the one with more
    /// says more.
    #[must_use]
    pub fn specificity(&self) -> usize {
        self.specificity
    }
}

/// The states that the automaton is in, each once.
struct States {
    active: Vec<usize>,
    is_active: Vec<bool>,
}

impl States {
    fn new(program_len: usize) -> Self {
        Self {
            active: Vec::new(),
            is_active: vec![false; program_len],
        }
    }

    fn clear(&mut self) {
        for state in self.active.drain(..) {
            self.is_active[state] = false;
        }
    }

    /// Adds a state and all that it leads to without taking a byte.
    fn add(&mut self, program: &[Step], state: usize) {
        let mut from = self.active.len();
        self.mark(state);
        while let Some(&state) = self.active.get(from) {
            from += 1;
            match program[state] {
                Step::Fork(other) => {
                    self.mark(state + 1);
                    self.mark(other);
                }
                Step::Jump(other) => self.mark(other),
                Step::Byte(_) | Step::AnyCase(_) | Step::Value(_) | Step::End => {}
            }
        }
    }

    fn mark(&mut self, state: usize) {
        if !std::mem::replace(&mut self.is_active[state], true) {
            self.active.push(state);
        }
    }
}

#[derive(Default)]
struct Compiler {
    steps: Vec<Step>,
}

/// The variables of one expression.
struct Variables<'t> {
    names: Vec<&'t str>,
    is_exploded: bool,
}

impl Compiler {
    /// Compiles what stands between the braces that open at `at`.
    fn expression(&mut self, text: &str, at: usize) -> Result<(), TemplateError> {
        let (operator, variables) = match text.as_bytes().first() {
            Some(&operator @ (b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&')) => {
                (operator, &text[1..])
            }
            Some(b'=' | b',' | b'!' | b'@' | b'|') => {
                return Err(TemplateError::UnknownOperator { at: at + 1 });
            }
            _ => (b' ', text),
        };
        let variables = Variables::parse(variables).ok_or(TemplateError::BadVariable { at })?;
        match operator {
            b'+' => self.value(Stop::Nothing),
            b'#' => self.optional(|this| {
                this.literal(b'#');
                this.value(Stop::Nothing);
            }),
            // A label may contain the dot that separates it from the next one.
            b'.' => self.optional(|this| {
                this.literal(b'.');
                this.value(Stop::Segment);
            }),
            b'/' => {
                let segment = |this: &mut Self| {
                    this.literal(b'/');
                    this.value(Stop::Segment);
                };
                if variables.is_exploded {
                    self.repeat(segment);
                } else {
                    for _ in &variables.names {
                        self.optional(segment);
                    }
                }
            }
            b';' => self.repeat(|this| {
                this.literal(b';');
                this.parameter(&variables, Stop::PathParameter);
            }),
            b'?' => self.optional(|this| {
                this.literal(b'?');
                this.parameter(&variables, Stop::QueryParameter);
                this.repeat(|this| {
                    this.literal(b'&');
                    this.parameter(&variables, Stop::QueryParameter);
                });
            }),
            b'&' => self.repeat(|this| {
                this.literal(b'&');
                this.parameter(&variables, Stop::QueryParameter);
            }),
            _ => self.value(Stop::Segment),
        }
        Ok(())
    }

    fn literal(&mut self, byte: u8) {
        if byte.is_ascii() {
            self.steps.push(Step::Byte(byte));
            return;
        }
        let digit = |nibble: u8| Step::AnyCase(b"0123456789ABCDEF"[usize::from(nibble)]);
        let start = self.steps.len();
        self.steps.extend([
            Step::Fork(start + 3),
            Step::Byte(byte),
            Step::Jump(start + 6),
            Step::Byte(b'%'),
            digit(byte >> 4),
            digit(byte & 15),
        ]);
    }

    /// Any number of the bytes that a variable may have.
    fn value(&mut self, stop: Stop) {
        self.repeat(|this| this.steps.push(Step::Value(stop)));
    }

    /// `name`, `name=` or `name=value` with one of the names, or anything if any name will do.
    fn parameter(&mut self, variables: &Variables<'_>, stop: Stop) {
        if variables.is_exploded {
            self.value(stop);
            return;
        }
        let mut ends = Vec::new();
        for name in &variables.names {
            let fork = self.steps.len();
            self.steps.push(Step::Fork(0));
            name.bytes().for_each(|byte| self.literal(byte));
            ends.push(self.steps.len());
            self.steps.push(Step::Jump(0));
            self.steps[fork] = Step::Fork(self.steps.len());
        }
        // Where none of the names is taken: a jump to itself is left by no byte.
        let dead_end = self.steps.len();
        self.steps.push(Step::Jump(dead_end));
        for end in ends {
            self.steps[end] = Step::Jump(dead_end + 1);
        }
        self.optional(|this| {
            this.literal(b'=');
            this.value(stop);
        });
    }

    fn optional(&mut self, inner: impl FnOnce(&mut Self)) {
        let fork = self.steps.len();
        self.steps.push(Step::Fork(0));
        inner(self);
        self.steps[fork] = Step::Fork(self.steps.len());
    }

    fn repeat(&mut self, inner: impl FnOnce(&mut Self)) {
        let fork = self.steps.len();
        self.steps.push(Step::Fork(0));
        inner(self);
        self.steps.push(Step::Jump(fork));
        self.steps[fork] = Step::Fork(self.steps.len());
    }
}

impl<'t> Variables<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let mut variables = Self {
            names: Vec::new(),
            is_exploded: false,
        };
        for variable in text.split(',') {
            let variable = variable.trim();
            let name = if let Some(name) = variable.strip_suffix('*') {
                variables.is_exploded = true;
                name
            } else if let Some((name, length)) = variable.split_once(':') {
                length.parse::<u16>().ok().filter(|&length| length > 0)?;
                name
            } else {
                variable
            };
            if name.is_empty() || name.contains(['*', ':', ' ']) {
                return None;
            }
            variables.names.push(name);
        }
        Some(variables)
    }
}
