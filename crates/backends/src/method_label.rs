//! The label that metrics have for a method.

use switchboard_protocol::method::Method;
use switchboard_telemetry::MethodLabel;

/// The label of a method.
#[must_use]
pub const fn method_label(method: Method) -> MethodLabel {
    match method {
        Method::Discover => MethodLabel::ServerDiscover,
        Method::ToolsList => MethodLabel::ToolsList,
        Method::ToolsCall => MethodLabel::ToolsCall,
        Method::ResourcesList => MethodLabel::ResourcesList,
        Method::ResourceTemplatesList => MethodLabel::ResourceTemplatesList,
        Method::ResourcesRead => MethodLabel::ResourcesRead,
        Method::PromptsList => MethodLabel::PromptsList,
        Method::PromptsGet => MethodLabel::PromptsGet,
        Method::Complete => MethodLabel::CompletionComplete,
        Method::Listen => MethodLabel::SubscriptionsListen,
        Method::TasksGet => MethodLabel::TasksGet,
        Method::TasksUpdate => MethodLabel::TasksUpdate,
        Method::TasksCancel => MethodLabel::TasksCancel,
        Method::SkillsList => MethodLabel::SkillsList,
        Method::SkillsGet => MethodLabel::SkillsGet,
        Method::DirectoryRead => MethodLabel::DirectoryRead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_the_label_of_its_name() {
        for method in Method::ALL {
            assert_eq!(method_label(method).as_str(), method.as_str());
        }
    }
}
