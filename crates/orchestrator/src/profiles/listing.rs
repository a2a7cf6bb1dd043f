//! How a profile lists a tool: under another name, with another description, and without the
//! arguments that it sets.

use switchboard_protocol::json::{self, Span, write_str};
use switchboard_protocol::splice::{Splice, filter_object, for_each_item, for_each_member, member};

use super::{Arguments, Profile};

impl Profile {
    /// The name of a tool that has these names without a profile, the first being the one that it is
    /// listed under.
    pub(crate) fn listed_as<'n, N: AsRef<str>>(&'n self, names: &'n [N]) -> Option<&'n str> {
        let renamed = names
            .iter()
            .find_map(|name| self.config.rename.get(name.as_ref()));
        renamed
            .map(String::as_str)
            .or_else(|| names.first().map(AsRef::as_ref))
    }

    /// The rules for the arguments of a tool that has these names without a profile.
    pub(super) fn arguments_of<N: AsRef<str>>(&self, names: &[N]) -> Option<&Arguments> {
        names
            .iter()
            .find_map(|name| self.arguments.get(name.as_ref()))
    }

    /// Changes what a server wrote of a tool, but for its name.
    pub(crate) fn edit_tool<N: AsRef<str>>(
        &self,
        names: &[N],
        tool: &[u8],
        edits: &mut Splice<'_>,
    ) {
        let described = names
            .iter()
            .find_map(|name| self.config.describe.get(name.as_ref()));
        let arguments = self.arguments_of(names);
        if described.is_none() && arguments.is_none() {
            return;
        }
        let mut has_description = false;
        for_each_member(tool, |key, _, value| {
            let place = Span::of_part(tool, value);
            match (key, described, arguments) {
                ("description", Some(text), _) => {
                    has_description = true;
                    edits.replace(place, json::quoted(text));
                }
                ("inputSchema", _, Some(arguments)) if value.starts_with(b"{") => {
                    edits.replace(place, arguments.edit_schema(value));
                }
                _ => {}
            }
        });
        if let (Some(text), false) = (described, has_description) {
            let mut added = b"\"description\":".to_vec();
            write_str(&mut added, text);
            edits.insert_members(tool, Span::of_part(tool, tool), &added);
        }
    }
}

impl Arguments {
    /// The schema of what clients may give: without what is fixed, and with the defaults, which
    /// nobody has to give.
    fn edit_schema(&self, schema: &[u8]) -> Vec<u8> {
        let mut out = vec![b'{'];
        for_each_member(schema, |key, written, value| {
            let is_object = value.starts_with(b"{");
            let edited = match key {
                "properties" if is_object => Some(self.edit_properties(value)),
                "required" if value.starts_with(b"[") => match self.edit_required(value) {
                    Some(required) => Some(required),
                    // Older drafts do not allow an empty one.
                    None => return,
                },
                _ => None,
            };
            if out.len() > 1 {
                out.push(b',');
            }
            match edited {
                None => out.extend_from_slice(written),
                Some(edited) => {
                    write_str(&mut out, key);
                    out.push(b':');
                    out.extend_from_slice(&edited);
                }
            }
        });
        out.push(b'}');
        out
    }

    fn edit_properties(&self, properties: &[u8]) -> Vec<u8> {
        let mut out = vec![b'{'];
        for_each_member(properties, |key, written, value| {
            if self.fixed.contains_key(key) {
                return;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            let Some(default) = self.defaults.get(key) else {
                out.extend_from_slice(written);
                return;
            };
            write_str(&mut out, key);
            out.push(b':');
            let default = format!("\"default\":{default}");
            // A schema can also be `true`.
            filter_object(value, default.as_bytes(), |key| key != "default", &mut out);
        });
        out.push(b'}');
        out
    }

    /// `None`: nothing has to be given.
    fn edit_required(&self, required: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![b'['];
        for_each_item(required, |item| {
            let item = item.of(required);
            let is_set = json::as_str(item).is_some_and(|name| {
                self.fixed.contains_key(&*name) || self.defaults.contains_key(&*name)
            });
            if !is_set {
                if out.len() > 1 {
                    out.push(b',');
                }
                out.extend_from_slice(item);
            }
        });
        out.push(b']');
        (out.len() > 2).then_some(out)
    }
}

/// The arguments that the schema of a tool names.
pub(crate) fn known_arguments(tool: &[u8]) -> Option<Vec<String>> {
    let properties = member(member(tool, "inputSchema")?, "properties")?;
    let mut all = Vec::new();
    for_each_member(properties, |key, _, _| all.push(key.to_owned()));
    Some(all)
}
