//! What is asked, and in which ways.

/// What can be asked for, and whether its results may be kept.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The tool by its name at the gateway, or the URI.
    target: &'static str,
    is_tool: bool,
    is_kept: bool,
    /// Whether all principals share its results.
    is_public: bool,
}

const KEPT: &[Subject] = &[
    tool("n__hinted", true),
    tool("n__marked", true),
    shared("s__hinted", true),
    resource("test://public", true, true),
    resource("test://private", true, false),
];
const ALL: &[Subject] = &[
    tool("n__hinted", true),
    tool("n__marked", true),
    tool("n__set_twice", false),
    tool("n__unknown", false),
    tool("n__delete_hinted", false),
    tool("n__marked_destructive", false),
    resource("test://public", true, true),
    resource("test://private", true, false),
    resource("test://never", false, true),
    shared("s__hinted", true),
    shared("s__marked", true),
    shared("s__unknown", false),
    shared("s__marked_destructive", false),
    // Only results of tools are shared where the operator says so.
    resource("shared://private", true, false),
];

const fn tool(target: &'static str, is_kept: bool) -> Subject {
    Subject {
        target,
        is_tool: true,
        is_kept,
        is_public: false,
    }
}

const fn shared(target: &'static str, is_kept: bool) -> Subject {
    Subject {
        is_public: true,
        ..tool(target, is_kept)
    }
}

const fn resource(target: &'static str, is_kept: bool, is_public: bool) -> Subject {
    Subject {
        target,
        is_tool: false,
        is_kept,
        is_public,
    }
}

/// What is asked, however it is written and whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    subject: &'static Subject,
    number: u64,
    /// A member of `_meta` that is the client's own.
    tenant: Option<&'static str>,
    /// Members that make it another kind of call.
    more: &'static str,
}

/// What tells a result from others: whose it is, of what, and what was asked.
pub(crate) type Key = (Option<usize>, &'static str, u64, Option<&'static str>);

impl Question {
    pub(crate) fn any(random: &mut Random) -> Self {
        // Half of them of what is kept, or little would be asked for twice in time.
        let subjects = match random.below(2) {
            0 => ALL,
            _ => KEPT,
        };
        let subject = &subjects[random.below(subjects.len() as u64) as usize];
        let tenant = match random.below(8) {
            0 => Some("x"),
            1 => Some("y"),
            _ => None,
        };
        let (mut number, mut more) = (0, "");
        if subject.is_tool {
            number = random.below(2);
            more = match random.below(12) {
                0 => r#","inputResponses":{}"#,
                1 => r#","task":{}"#,
                _ => "",
            };
        }
        Self {
            subject,
            number,
            tenant,
            more,
        }
    }

    pub(crate) const fn method(&self) -> &'static str {
        match self.subject.is_tool {
            true => "tools/call",
            false => "resources/read",
        }
    }

    /// Whether what comes of it may be kept.
    pub(crate) const fn may_be_kept(&self) -> bool {
        self.subject.is_kept && self.more.is_empty()
    }

    /// Under which key a result is kept that this principal gets.
    pub(crate) fn key(&self, principal: usize) -> Key {
        let owner = (!self.subject.is_public).then_some(principal);
        (owner, self.subject.target, self.number, self.tenant)
    }

    /// Whose calls wait for each other: also those for a resource that is everybody's only of one
    /// principal, since nobody knows before that it is.
    pub(crate) fn flight(&self, principal: usize) -> Key {
        let owner = (!self.subject.is_public || !self.subject.is_tool).then_some(principal);
        (owner, self.subject.target, self.number, self.tenant)
    }

    /// One of the ways to write it.
    pub(crate) fn written(&self, random: &mut Random) -> String {
        let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}"#;
        let token = random.below(1000);
        let own = self.tenant.map_or_else(String::new, |tenant| {
            format!(r#","com.example/tenant":"{tenant}""#)
        });
        let meta = format!(r#""_meta":{{{meta},"progressToken":{token}{own}}}"#);
        let (target, number, more) = (self.subject.target, self.number, self.more);
        if !self.subject.is_tool {
            return format!(r#"{{"uri":"{target}",{meta}}}"#);
        }
        let arguments = match random.below(2) {
            0 => format!(r#"{{"a":{number},"b":"x"}}"#),
            _ => format!(r#"{{ "b":"\u0078", "a":{number} }}"#),
        };
        format!(r#"{{"name":"{target}","arguments":{arguments},{meta}{more}}}"#)
    }
}

/// Numbers by chance, the same for each seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }
}
