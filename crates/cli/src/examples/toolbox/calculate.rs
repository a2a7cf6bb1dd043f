//! `calculate`: a recursive-descent parser that evaluates while it reads.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = unary { ("*" | "/" | "%") unary }
//! unary   = ("-" | "+") unary | power
//! power   = primary [ "^" unary ]
//! primary = number | name | name "(" sum { "," sum } ")" | "(" sum ")"
//! ```
//!
//! So `^` binds tighter than a sign before it and groups to the right: `-2^2` is −4 and `2^3^2` is
//! 512.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::examples::table::{Output, Refusal};

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 4_096;
/// How deep parentheses, signs and powers may nest.
const MAX_DEPTH: usize = 64;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Calculate {
    /// The expression, for example `(3 + 4) * 2 ^ 3`.
    expression: String,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Value {
    /// The value, to 15 significant digits.
    #[serde(serialize_with = "tidy")]
    #[schemars(with = "f64")]
    result: f64,
}

impl Output for Value {}

/// Writes whole numbers without a fraction and others with the 15 digits that a double surely has.
pub(super) fn tidy<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Both bounds are doubles, so within them the cast is exact.
    const WHOLE: f64 = 9.2e18;
    if number.fract() == 0.0 && number.abs() < WHOLE {
        return serializer.serialize_i64(*number as i64);
    }
    let rounded = format!("{number:.14e}").parse().unwrap_or(*number);
    serializer.serialize_f64(rounded)
}

pub(super) fn run(arguments: &Calculate) -> Result<Value, Refusal> {
    evaluate(&arguments.expression).map(|result| Value { result })
}

fn evaluate(expression: &str) -> Result<f64, Refusal> {
    if expression.len() > MAX_LENGTH {
        return Err(format!("The expression is longer than {MAX_LENGTH} bytes.").into());
    }
    let mut parser = Parser {
        text: expression,
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The byte offset of what comes next.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, Refusal> {
        let mut left = self.product()?;
        while let Some(operator) = self.accept(&['+', '-']) {
            let at = self.at;
            let right = self.product()?;
            let value = if operator == '+' {
                left + right
            } else {
                left - right
            };
            left = self.finite(value, at)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<f64, Refusal> {
        let mut left = self.unary()?;
        while let Some(operator) = self.accept(&['*', '/', '%']) {
            let at = self.at;
            let right = self.unary()?;
            if operator != '*' && right == 0.0 {
                return Err(self.problem("Division by zero", at));
            }
            let value = match operator {
                '*' => left * right,
                '/' => left / right,
                _ => left % right,
            };
            left = self.finite(value, at)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<f64, Refusal> {
        self.nested(|parser| match parser.accept(&['-', '+']) {
            Some('-') => Ok(-parser.unary()?),
            Some(_) => parser.unary(),
            None => parser.power(),
        })
    }

    fn power(&mut self) -> Result<f64, Refusal> {
        let base = self.primary()?;
        if self.accept(&['^']).is_none() {
            return Ok(base);
        }
        let at = self.at;
        let exponent = self.unary()?;
        if base == 0.0 && exponent < 0.0 {
            return Err(self.problem("Division by zero in a negative power of 0", at));
        }
        self.finite(base.powf(exponent), at)
    }

    fn primary(&mut self) -> Result<f64, Refusal> {
        match self.peek() {
            Some('(') => {
                self.accept(&['(']);
                let value = self.sum()?;
                self.expect(')')?;
                Ok(value)
            }
            Some(first) if first.is_ascii_digit() || first == '.' => self.number(),
            Some(first) if first.is_alphabetic() => self.name(),
            _ => Err(self.unexpected("a number, a function or `(`")),
        }
    }

    fn number(&mut self) -> Result<f64, Refusal> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| {
            rest[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut end = digits(0);
        if rest.get(end) == Some(&b'.') {
            end += 1 + digits(end + 1);
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            // Without digits behind it the `e` is no exponent but a name, which is then reported.
            if let exponent @ 1.. = digits((end + 1 + sign).min(rest.len())) {
                end += 1 + sign + exponent;
            }
        }
        let at = self.at;
        let number = &self.text[at..at + end];
        self.at += end;
        let value = number
            .parse()
            .map_err(|_| self.problem(&format!("`{number}` is not a number"), at))?;
        self.finite(value, at)
    }

    fn name(&mut self) -> Result<f64, Refusal> {
        let at = self.at;
        let rest = &self.text[at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        match name {
            "pi" => return Ok(std::f64::consts::PI),
            "e" => return Ok(std::f64::consts::E),
            _ => {}
        }
        self.expect('(')?;
        let mut arguments = vec![self.sum()?];
        while self.accept(&[',']).is_some() {
            arguments.push(self.sum()?);
        }
        self.expect(')')?;
        let value = match (name, arguments.as_slice()) {
            ("sqrt", [x]) if *x < 0.0 => {
                return Err(self.problem("The square root of a negative number is not real", at));
            }
            ("sqrt", [x]) => x.sqrt(),
            ("abs", [x]) => x.abs(),
            ("round", [x]) => x.round(),
            ("round", [x, digits]) => {
                if digits.fract() != 0.0 || !(0.0..=15.0).contains(digits) {
                    return Err(self.problem("round takes 0 to 15 digits", at));
                }
                let scale = 10_f64.powf(*digits);
                (x * scale).round() / scale
            }
            ("min", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::min),
            ("max", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::max),
            ("sqrt" | "abs" | "round", _) => {
                let count = arguments.len();
                return Err(self.problem(&format!("{name} does not take {count} arguments"), at));
            }
            _ => {
                let text = format!(
                    "There is no function `{name}`; there are sqrt, round, min, max and abs"
                );
                return Err(self.problem(&text, at));
            }
        };
        self.finite(value, at)
    }

    /// Runs `inner` one level deeper, or refuses at the bound that keeps the stack small.
    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<f64, Refusal>,
    ) -> Result<f64, Refusal> {
        if self.depth == MAX_DEPTH {
            let text = format!("The expression nests deeper than {MAX_DEPTH} levels");
            return Err(self.problem(&text, self.at));
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn peek(&mut self) -> Option<char> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest.chars().next()
    }

    fn accept(&mut self, wanted: &[char]) -> Option<char> {
        let next = self.peek().filter(|next| wanted.contains(next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn expect(&mut self, wanted: char) -> Result<(), Refusal> {
        match self.accept(&[wanted]) {
            Some(_) => Ok(()),
            None => Err(self.unexpected(&format!("`{wanted}`"))),
        }
    }

    fn finite(&self, value: f64, at: usize) -> Result<f64, Refusal> {
        match value {
            _ if value.is_nan() => Err(self.problem("The result is not a real number", at)),
            _ if value.is_infinite() => Err(self.problem("The result is too large", at)),
            _ => Ok(value),
        }
    }

    fn unexpected(&mut self, wanted: &str) -> Refusal {
        let found = self
            .peek()
            .map_or("the end".to_owned(), |next| format!("`{next}`"));
        self.problem(&format!("Expected {wanted} but found {found}"), self.at)
    }

    /// A refusal that names a position, counted in characters from 1.
    fn problem(&self, text: &str, at: usize) -> Refusal {
        let position = self.text[..at].chars().count() + 1;
        Refusal(format!("{text}, at position {position}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: f64) {
        assert_eq!(evaluate(expression), Ok(expected), "{expression}");
    }

    #[track_caller]
    fn check_refused(expression: &str, expected: &str) {
        assert_eq!(evaluate(expression), Err(expected.into()), "{expression}");
    }

    #[test]
    fn operators_bind_as_in_mathematics() {
        check("1 + 2 * 3", 7.0);
        check("(1 + 2) * 3", 9.0);
        check("10 - 4 - 3", 3.0);
        check("7 % 4 / 2", 1.5);
        check("2 ^ 3 ^ 2", 512.0);
        check("-2 ^ 2", -4.0);
        check("2 ^ -1", 0.5);
        check("--+3", 3.0);
    }

    #[test]
    fn numbers_functions_and_constants() {
        check(" 1.5e3 + .5 ", 1_500.5);
        check("sqrt(16) + abs(-2)", 6.0);
        check("round(2.5)", 3.0);
        check("round(2.71828, 2)", 2.72);
        check("min(3, 1, 2) + max(4)", 5.0);
        check("round(pi * e, 3)", 8.54);
    }

    #[test]
    fn errors_name_their_position() {
        check_refused(
            "",
            "Expected a number, a function or `(` but found the end, at position 1.",
        );
        check_refused(
            "2 3",
            "Expected an operator or the end but found `3`, at position 3.",
        );
        check_refused("(1", "Expected `)` but found the end, at position 3.");
        check_refused("1 / (2 - 2)", "Division by zero, at position 4.");
        check_refused(
            "sqrt(-1)",
            "The square root of a negative number is not real, at position 1.",
        );
        check_refused(
            "1..2",
            "Expected an operator or the end but found `.`, at position 3.",
        );
        check_refused(
            "ä(1)",
            "There is no function `ä`; there are sqrt, round, min, max and abs, at position 1.",
        );
        check_refused("abs(1, 2)", "abs does not take 2 arguments, at position 1.");
        check_refused(
            "(-8) ^ 0.5",
            "The result is not a real number, at position 7.",
        );
        check_refused("10 ^ 400", "The result is too large, at position 5.");
        check_refused(".", "`.` is not a number, at position 1.");
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
        check(&deep(MAX_DEPTH - 1), 1.0);
        for bad in [
            deep(2_000),
            "-".repeat(2_000),
            "2^".repeat(2_000),
            "abs(".repeat(1_000),
        ] {
            let Err(Refusal(text)) = evaluate(&bad) else {
                panic!("{bad} was evaluated");
            };
            assert!(text.contains("nests deeper than 64 levels"), "{text}");
        }
        check_refused(
            &"1".repeat(MAX_LENGTH + 1),
            "The expression is longer than 4096 bytes.",
        );
    }

    #[test]
    fn results_are_written_without_noise() {
        let write = |expression: &str| {
            let result = evaluate(expression).expect("a valid expression");
            serde_json::to_string(&Value { result }).expect("a number")
        };
        assert_eq!(write("0.1 + 0.2"), r#"{"result":0.3}"#);
        assert_eq!(write("2 ^ 60"), r#"{"result":1152921504606846976}"#);
        assert_eq!(write("1 / 3"), r#"{"result":0.333333333333333}"#);
        assert_eq!(write("-0"), r#"{"result":0}"#);
        assert_eq!(write("10 ^ 30"), r#"{"result":1e+30}"#);
    }
}
