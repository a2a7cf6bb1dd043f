//! What a request says in its query or form.

use std::collections::BTreeMap;

use super::OAuthError;

/// The parameters of a request, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a query, or a body of the type `application/x-www-form-urlencoded`. Parameters without a
    /// value count as absent.
    ///
    /// # Errors
    ///
    /// If one is there twice (RFC 6749, section 3.1): who reads the other one decides differently.
    pub fn parse(text: &[u8]) -> Result<Self, OAuthError> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text) {
            if value.is_empty() {
                continue;
            }
            if fields
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                let description = "a parameter is there twice";
                return Err(OAuthError::new("invalid_request", description));
            }
        }
        Ok(Self(fields))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn a_parameter_is_there_once() {
        let form = Form::parse(b"a=b%20c&d=&e=f").unwrap();
        assert_eq!(form.get("a"), Some("b c"));
        assert_eq!(form.get("d"), None);
        assert!(Form::parse(b"a=b&a=b").is_err());
    }
}
