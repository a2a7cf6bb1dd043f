//! Input: a template, a line end, a text that serves as a URI and as the value of every variable.

use std::fmt::Write as _;

use switchboard_protocol::uri_template::{MAX_URI_LEN, UriTemplate};

pub(super) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (template, value) = text.split_once('\n').unwrap_or((text, text));
    let Ok(parsed) = UriTemplate::parse(template) else {
        return;
    };
    assert!(parsed.specificity() <= template.len());
    let matched = parsed.matches(value);
    if template.is_ascii() && !template.contains('{') {
        assert_eq!(matched, template == value && value.len() <= MAX_URI_LEN);
    }
    if !has_plain_names(template) {
        return;
    }
    // Each variable has a value or none, in turn.
    for pattern in [u8::MAX, 0, 0b0101_0101, 0b1100_1010] {
        let uri = Expansion { value, pattern }.of(template);
        if uri.len() <= MAX_URI_LEN {
            assert!(parsed.matches(&uri), "{template:?} does not match {uri:?}");
        }
    }
}

/// Whether it is defined what the template expands to: its names are those of RFC 6570, with the
/// dashes and the letters that people write, and have no character that separates the parts of a
/// URI.
fn has_plain_names(template: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || " _.%-,:*+#/;?&".contains(c);
    let names = template.split('{').skip(1);
    let mut names = names.filter_map(|rest| rest.split('}').next());
    names.all(|names| {
        let reserved = names.get(1..).unwrap_or_default();
        names.chars().all(is_plain) && !reserved.contains(['+', '#', '/', ';', '?', '&'])
    })
}

/// Expands a template as section 3.2 of RFC 6570 says, where every variable is a string.
struct Expansion<'v> {
    value: &'v str,
    /// Which variables have a value: a bit for each, around and around.
    pattern: u8,
}

impl Expansion<'_> {
    fn of(mut self, template: &str) -> String {
        let mut uri = String::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let (expression, after) = after
                .split_once('}')
                .expect("balanced, or it had not parsed");
            uri.push_str(literal);
            self.expression(expression, &mut uri);
            rest = after;
        }
        uri.push_str(rest);
        uri
    }

    fn expression(&mut self, expression: &str, uri: &mut String) {
        let operator = expression
            .chars()
            .next()
            .filter(|first| "+#./;?&".contains(*first));
        let variables = &expression[operator.map_or(0, char::len_utf8)..];
        let (first, separator) = match operator {
            None | Some('+') => ("", ","),
            Some('#') => ("#", ","),
            Some('?') => ("?", "&"),
            Some('.') => (".", "."),
            Some('/') => ("/", "/"),
            Some(';') => (";", ";"),
            Some(_) => ("&", "&"),
        };
        let mut before = first;
        for variable in variables.split(',') {
            self.pattern = self.pattern.rotate_left(1);
            if self.pattern & 1 == 0 {
                continue;
            }
            uri.push_str(before);
            before = separator;
            self.variable(variable.trim(), operator, uri);
        }
    }

    fn variable(&self, variable: &str, operator: Option<char>, uri: &mut String) {
        let (name, length) = match variable.split_once(':') {
            Some((name, length)) => (
                name,
                length.parse().expect("a length, or it had not parsed"),
            ),
            None => (variable.trim_end_matches('*'), usize::MAX),
        };
        let value: String = self.value.chars().take(length).collect();
        if matches!(operator, Some(';' | '?' | '&')) {
            uri.push_str(name);
            if !value.is_empty() || operator != Some(';') {
                uri.push('=');
            }
        }
        let allows_reserved = matches!(operator, Some('+' | '#'));
        for byte in value.bytes() {
            let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if is_unreserved || allows_reserved && b":/?#[]@!$&'()*+,;=".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                // Writing into a String cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
}
