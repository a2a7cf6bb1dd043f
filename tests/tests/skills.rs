//! Skills (SEP-2640), of servers and for clients of every era.

use std::net::Ipv4Addr;

use axum::Router;
use rmcp::model::{
    ErrorCode, GetSkillRequestParams, GetSkillResult, ListResourcesResult, ListSkillsResult,
    PaginatedRequestParams, ReadResourceDirectoryRequestParams, ReadResourceDirectoryResult,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, ServerCapabilities, ServerConfig, Skill, SkillFrontmatter, SkillResource,
    SkillResources,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, faulty};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const EXTENSION: &str = "io.modelcontextprotocol/skills";
const UNKNOWN: &str = "skill://nobody/SKILL.md";

type Context = RequestContext<RoleServer>;

/// A server with skills, each of two files that say whose they are.
#[derive(Clone)]
struct Library {
    label: &'static str,
    listed: Vec<&'static str>,
    /// One that is there and not listed.
    unlisted: Option<&'static str>,
    directories: bool,
}

impl Library {
    fn new(label: &'static str, listed: &[&'static str]) -> Self {
        Self {
            label,
            listed: listed.to_vec(),
            unlisted: None,
            directories: false,
        }
    }

    fn text(&self, uri: &str) -> String {
        format!("{} has {uri}", self.label)
    }

    fn skill(&self, name: &str) -> Skill {
        let files = files(name).map(|uri| {
            let text = self.text(&uri);
            SkillResource::from_bytes(uri, text.as_bytes())
        });
        let frontmatter = SkillFrontmatter::new(name, format!("of {}", self.label))
            .with_field("license", "none at all");
        Skill::new(
            entry(name),
            frontmatter,
            SkillResources::Files(files.into()),
        )
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.listed.iter().copied().chain(self.unlisted)
    }

    /// Serves it until the handle is aborted; answers its entry of the `backends` section.
    async fn start(self, era: &str) -> (Value, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let service = StreamableHttpService::new(
            move || Ok(self.clone()),
            LocalSessionManager::default().into(),
            StreamableHttpServerConfig::default(),
        );
        let app = Router::new().nest_service("/mcp", service);
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a server");
        });
        let backend = json!({ "url": format!("http://{address}/mcp"), "era": era });
        (backend, task)
    }
}

fn entry(name: &str) -> String {
    format!("skill://{name}/SKILL.md")
}

fn files(name: &str) -> [String; 2] {
    [entry(name), format!("skill://{name}/docs/more.md")]
}

fn unknown(uri: &str) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, format!("no {uri}"), None)
}

impl ServerHandler for Library {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_resources();
        ServerConfig::new(if self.directories {
            capabilities.enable_skills_with_directory_read().build()
        } else {
            capabilities.enable_skills().build()
        })
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(Vec::new()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        if !self.names().any(|name| files(name).contains(&uri)) {
            return Err(unknown(&uri));
        }
        let contents = ResourceContents::text(self.text(&uri), uri);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn list_skills(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListSkillsResult, ErrorData> {
        // One skill a page.
        let cursor = request.and_then(|request| request.cursor);
        let page = cursor.map_or(0, |cursor| cursor.parse().expect("a cursor of this server"));
        let skills = self.listed.iter().skip(page).take(1);
        let skills = skills.map(|name| self.skill(name)).collect();
        let mut result = ListSkillsResult::with_all_items(skills).with_ttl_ms(60_000);
        result.next_cursor = (page + 1 < self.listed.len()).then(|| (page + 1).to_string());
        Ok(result)
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        _context: Context,
    ) -> Result<GetSkillResult, ErrorData> {
        let name = self.names().find(|name| entry(name) == request.uri);
        let name = name.ok_or_else(|| unknown(&request.uri))?;
        Ok(GetSkillResult::new(self.skill(name)))
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        _context: Context,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        let uri = request.uri;
        let name = self
            .names()
            .find(|name| uri == format!("skill://{name}/docs"));
        let name = name.ok_or_else(|| unknown(&uri))?;
        let [_, file] = files(name);
        let child = Resource::new(file, "more.md");
        Ok(ListResourcesResult::with_all_items(vec![child]))
    }
}

/// Clients of both eras.
struct Clients {
    front: Front,
    legacy: LegacyClient,
}

impl Clients {
    async fn of(backends: Value) -> Self {
        let front = Front::of(backends).await;
        front.gateway.wait_for_backends().await;
        let legacy = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
        Self { front, legacy }
    }

    /// What the clients are answered: the result, if it is one for both, and the codes of the errors.
    async fn both(&self, method: &str, params: Value) -> [Result<Value, Option<i64>>; 2] {
        let modern = self.front.client.request(method, params.clone()).await;
        let legacy = self.legacy.request(method, params).await;
        [
            (modern.result(), modern.error_code()),
            (legacy.result(), legacy.error_code()),
        ]
        .map(|(result, error)| match result {
            Value::Null => Err(error),
            result => Ok(result.clone()),
        })
    }

    /// The result that both get, but for the members that only modern results have.
    async fn result(&self, method: &str, params: Value) -> Value {
        let [modern, legacy] = self.both(method, params).await;
        let (mut modern, legacy) = (modern.expect("a result"), legacy.expect("a result"));
        for key in ["resultType", "ttlMs", "cacheScope"] {
            let members = modern.as_object_mut().expect("an object");
            assert!(members.remove(key).is_some(), "{key} is missing: {modern}");
            assert!(legacy.get(key).is_none(), "{key} is left: {legacy}");
        }
        modern.as_object_mut().expect("an object").remove("_meta");
        assert_eq!(modern, legacy);
        legacy
    }

    async fn refuses(&self, method: &str, uri: &str, code: i64) {
        for answer in self.both(method, json!({ "uri": uri })).await {
            assert_eq!(answer, Err(Some(code)), "{method} {uri}");
        }
    }

    async fn listed(&self) -> Vec<Value> {
        let list = self.result("skills/list", json!({})).await;
        list["skills"].as_array().expect("skills").clone()
    }

    /// Gets a skill by its URI, and reads its files: all are those of this server.
    async fn has(&self, uri: &Value, server: &str) {
        let got = self.result("skills/get", json!({ "uri": uri })).await;
        let skill = &got["skill"];
        assert_eq!(skill["frontmatter"]["description"], format!("of {server}"));
        assert_eq!(skill["uri"], *uri, "{got}");
        let files = skill["resources"].as_array().expect("files");
        assert_eq!(files.len(), 2, "{got}");
        for file in files {
            let read = self
                .result("resources/read", json!({ "uri": file["uri"] }))
                .await;
            let text = read["contents"][0]["text"].as_str().expect("text");
            assert!(text.starts_with(&format!("{server} has ")), "{read}");
            assert_eq!(file["size"], text.len(), "{read}");
        }
    }
}

/// Every pair of eras that two servers can have.
const ERAS: [[&str; 2]; 3] = [
    ["modern", "modern"],
    ["legacy", "legacy"],
    ["modern", "legacy"],
];

#[tokio::test(flavor = "multi_thread")]
async fn skills_of_all_servers_lead_home() {
    for [first, second] in ERAS {
        let (one, _one) = Library::new("one", &["pdf", "git"]).start(first).await;
        let (two, _two) = Library::new("two", &["mail"]).start(second).await;
        let clients = Clients::of(json!({ "one": one, "two": two })).await;
        let listed = clients.listed().await;
        let uris: Vec<_> = listed.iter().map(|skill| &skill["uri"]).collect();
        assert_eq!(uris, [&entry("pdf"), &entry("git"), &entry("mail")]);
        assert_eq!(listed[0]["frontmatter"]["license"], "none at all");
        for (skill, server) in listed.iter().zip(["one", "one", "two"]) {
            clients.has(&skill["uri"], server).await;
            let got = clients
                .result("skills/get", json!({ "uri": skill["uri"] }))
                .await;
            assert_eq!(got["skill"], *skill);
        }
        clients.refuses("skills/get", UNKNOWN, -32602).await;
        for answer in clients.both("skills/get", json!({})).await {
            assert_eq!(answer, Err(Some(-32602)));
        }
        // Nobody announced it.
        let directory = "skill://pdf/docs";
        clients
            .refuses("resources/directory/read", directory, -32601)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_that_two_servers_have_is_listed_twice() {
    for [first, second] in ERAS {
        let (one, _one) = Library::new("one", &["pdf"]).start(first).await;
        let (two, _two) = Library::new("two", &["pdf", "git"]).start(second).await;
        let clients = Clients::of(json!({ "one": one, "two": two })).await;
        let listed = clients.listed().await;
        let address = |server: &str| format!("switchboard://{server}/{}", entry("pdf"));
        let uris: Vec<_> = listed.iter().map(|skill| &skill["uri"]).collect();
        assert_eq!(uris, [&address("one"), &address("two"), &entry("git")]);
        for (skill, server) in listed.iter().zip(["one", "two", "two"]) {
            // A host knows the files of a skill by the directory that they are in.
            let skill: Skill = serde_json::from_value(skill.clone()).expect("a skill");
            skill.validate().expect("a valid skill");
            clients.has(&json!(skill.uri), server).await;
        }
        clients.refuses("skills/get", &entry("pdf"), -32602).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_need_not_be_listed() {
    for [first, second] in ERAS {
        let library = Library {
            unlisted: Some("secret"),
            ..Library::new("one", &[])
        };
        let (one, _one) = library.start(first).await;
        let clients = Clients::of(json!({ "one": one, "two": faulty(&[]) })).await;
        assert!(clients.listed().await.is_empty(), "{second}");
        clients.has(&json!(entry("secret")), "one").await;
        clients.refuses("skills/get", UNKNOWN, -32602).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_read_where_some_server_does() {
    for [first, second] in ERAS {
        let library = Library {
            directories: true,
            ..Library::new("two", &["mail", "pdf"])
        };
        let (one, _one) = Library::new("one", &["pdf", "git"]).start(first).await;
        let (two, _two) = library.start(second).await;
        let clients = Clients::of(json!({ "one": one, "two": two })).await;
        let read = "resources/directory/read";
        for base in ["skill://mail", "switchboard://two/skill://pdf"] {
            let params = json!({ "uri": format!("{base}/docs") });
            let children = clients.result(read, params).await;
            let child = &children["resources"][0];
            assert_eq!(child["uri"], format!("{base}/docs/more.md"), "{children}");
        }
        for directory in ["skill://mail/none", "skill://pdf/docs"] {
            clients.refuses(read, directory, -32602).await;
        }
        assert_eq!(announced(&clients).await, json!({ "directoryRead": true }));
    }
}

/// The settings that both clients are told of; null if they are told of none.
async fn announced(clients: &Clients) -> Value {
    let discovered = clients
        .front
        .client
        .request("server/discover", json!({}))
        .await;
    let legacy = LegacyClient::new(clients.front.gateway.url(), Setup::default());
    let agreed = legacy.initialize().await;
    let [modern, legacy] = [discovered.result(), agreed.result()]
        .map(|result| result["capabilities"]["extensions"][EXTENSION].clone());
    assert_eq!(modern, legacy);
    modern
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extension_is_there_where_some_server_has_it() {
    let clients = Clients::of(json!({ "plain": faulty(&[]) })).await;
    assert_eq!(announced(&clients).await, Value::Null);
    for method in ["skills/list", "skills/get", "resources/directory/read"] {
        clients.refuses(method, UNKNOWN, -32601).await;
    }
    for era in ["modern", "legacy"] {
        let (one, _one) = Library::new("one", &["pdf"]).start(era).await;
        let clients = Clients::of(json!({ "one": one, "plain": faulty(&[]) })).await;
        assert_eq!(announced(&clients).await, json!({}));
    }
}
