//! The table of all metrics: names, labels and meaning. The registry and docs/metrics.md are both
//! built from it.

/// One metric family.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:literal $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $id: Family = Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)+

        /// Every family, in the order of the reference.
        pub(super) const ALL: &[Family] = &[$($id,)+];
    };
}

families! {
    SERVER_DURATION: "histogram" "mcp_server_operation_duration_seconds" ["mcp_method_name", "error_type"]
        "Time from a client's request to the end of its answer, in seconds. error_type is empty on success, and for errors that are the request's own fault.";
    CLIENT_DURATION: "histogram" "mcp_client_operation_duration_seconds" ["mcp_method_name", "switchboard_backend", "error_type"]
        "Time of one attempt at a backend, in seconds. error_type is empty on success.";
    BACKEND_STATE: "gauge" "switchboard_backend_state" ["backend", "state"]
        "1 for the state that the backend is in, 0 for the others.";
    BACKEND_RESTARTS: "counter" "switchboard_backend_restarts_total" ["backend"]
        "Times that the process of a local backend was started again after it was lost, or because an operator asked.";
    BACKEND_RECYCLES: "counter" "switchboard_backend_recycles_total" ["backend"]
        "Times that a process of a local backend was replaced for its age or the number of its calls.";
    PROCESSES: "gauge" "switchboard_processes" ["backend"]
        "Processes of a local backend, all that it started included, and its owners (switchboard __init) left out.";
    BACKEND_MEMORY: "gauge" "switchboard_process_resident_memory_bytes" ["backend"]
        "Resident memory of these processes in bytes. What several share counts for each.";
    BACKEND_CPU: "counter" "switchboard_process_cpu_seconds_total" ["backend"]
        "CPU time of all processes that a local backend ever had, user and system, in seconds.";
    BACKEND_START: "gauge" "switchboard_process_start_time_seconds" ["backend"]
        "When the process of a local backend was started that its lists come from, in seconds since 1970, of several the last; 0 while there is none.";
    BACKEND_WRITE_QUEUE: "gauge" "switchboard_process_write_queue" ["backend"]
        "Messages that wait to be written to the processes of a local backend.";
    BACKEND_TOOLS: "gauge" "switchboard_backend_tools" ["backend"]
        "Tools that the backend shows, after include_tools and exclude_tools.";
    BACKEND_SESSIONS: "gauge" "switchboard_backend_sessions" ["backend"]
        "Sessions for calls with a legacy backend, those that are being opened and closed included.";
    BACKEND_IGNORED: "counter" "switchboard_backend_ignored_messages_total" ["backend", "kind"]
        "Messages from the backend that were not passed on.";
    BACKEND_REFUSED: "counter" "switchboard_backend_refused_total" ["backend", "reason"]
        "Calls that were not let in to the backend.";
    BACKEND_RETRIES: "counter" "switchboard_backend_retries_total" ["backend", "result"]
        "Further attempts at calls that failed.";
    BACKEND_BREAKER: "counter" "switchboard_backend_breaker_turns_total" ["backend", "to"]
        "Times that the breaker of one of the backend's endpoints opened or closed.";
    BACKEND_IN_FLIGHT: "gauge" "switchboard_backend_calls_in_flight" ["backend"]
        "Calls that are in the backend.";
    BACKEND_IN_FLIGHT_MAX: "gauge" "switchboard_backend_calls_in_flight_max" ["backend"]
        "How many may be, by its bulkhead.";
    BACKEND_QUEUE: "gauge" "switchboard_backend_queue" ["backend"]
        "Calls that wait to be let in to the backend.";
    BACKEND_QUEUE_MAX: "gauge" "switchboard_backend_queue_max" ["backend"]
        "How many may wait, by its bulkhead.";
    ENDPOINT_CALLS: "counter" "switchboard_endpoint_calls_total" ["backend", "endpoint", "outcome"]
        "Attempts at an endpoint that have ended.";
    ENDPOINT_IN_FLIGHT: "gauge" "switchboard_endpoint_calls_in_flight" ["backend", "endpoint"]
        "Attempts at an endpoint that have not ended.";
    ENDPOINT_STATE: "gauge" "switchboard_endpoint_state" ["backend", "endpoint", "state"]
        "1 for the state that the endpoint is in, by its breaker first, 0 for the others.";
    ENDPOINT_BREAKER: "gauge" "switchboard_endpoint_breaker_state" ["backend", "endpoint", "state"]
        "1 for the state that the breaker of the endpoint is in, 0 for the others.";
    FALLBACKS: "counter" "switchboard_fallbacks_total" ["backend", "to", "outcome"]
        "Calls of tools that took the place of another that had failed: backend is whose tool was called, to whose tool took its place.";
    TOOL_CALLS: "counter" "switchboard_tool_calls_total" ["backend", "tool", "outcome"]
        "Calls of each tool, answers from the cache and each substitute of a fallback included.";
    TOOL_SECONDS: "counter" "switchboard_tool_call_seconds_total" ["backend", "tool"]
        "Time that these calls took together, in seconds.";
    LIST_ITEMS: "gauge" "switchboard_list_items" ["backend", "list"]
        "Items of each list of the backend, as it was read last, after include_tools and exclude_tools.";
    LIST_BYTES: "gauge" "switchboard_list_bytes" ["backend", "list"]
        "Bytes of these items, as the server wrote them.";
    LIST_TOKENS: "gauge" "switchboard_list_tokens" ["backend", "list"]
        "An estimate of what these items cost the context of a model, in tokens: one for four bytes of ASCII, one for any other character.";
    PROFILE_LIST_ITEMS: "gauge" "switchboard_profile_list_items" ["profile", "list"]
        "Items of each list of a profile, as a client gets them who may see all that is in it.";
    PROFILE_LIST_BYTES: "gauge" "switchboard_profile_list_bytes" ["profile", "list"]
        "Bytes of these items.";
    PROFILE_LIST_TOKENS: "gauge" "switchboard_profile_list_tokens" ["profile", "list"]
        "An estimate of what these items cost the context of a client's model, in tokens, counted as switchboard_list_tokens.";
    CACHE: "counter" "switchboard_cache_total" ["backend", "outcome"]
        "Calls of backends with a `cache`, by what was found for them. bypassed: the result of such a call may not be cached.";
    CACHE_ENTRIES: "gauge" "switchboard_cache_entries" []
        "Cached results in memory.";
    CACHE_BYTES: "gauge" "switchboard_cache_bytes" []
        "Their bytes, with what each needs beside them.";
    KEPT_RESULTS: "gauge" "switchboard_kept_results" []
        "Results that were too large to send and are kept, or being kept, for their callers.";
    KEPT_RESULT_BYTES: "gauge" "switchboard_kept_result_bytes" []
        "Their bytes, in memory and in files.";
    CONFIG_RELOADS: "counter" "switchboard_config_reloads_total" ["result"]
        "Times that the configuration was read again: it changed something (ok), nothing (unchanged), or was refused (failed).";
    CONFIG_RELOADED: "gauge" "switchboard_config_last_reload_successful" []
        "1 if the configuration was accepted when it was last read, at the start or at a reload; else 0.";
    CONNECTIONS: "gauge" "switchboard_connections" []
        "Open client connections.";
    LISTEN_STREAMS: "gauge" "switchboard_listen_streams" []
        "Open subscriptions/listen streams.";
    LEGACY_SESSIONS: "gauge" "switchboard_legacy_sessions" []
        "Sessions of clients that speak 2025-11-25 or older.";
    LEGACY_STREAMS: "gauge" "switchboard_legacy_streams" []
        "Open streams of such sessions for what is said outside of calls.";
    PARKED_CALLS: "gauge" "switchboard_parked_calls" []
        "Calls whose legacy server waits for an answer of their client.";
    CALLS_IN_FLIGHT: "gauge" "switchboard_calls_in_flight" []
        "Calls that have begun and not ended.";
    SHED: "counter" "switchboard_shed_total" ["reason"]
        "Calls and requests refused because the gateway has as much to do as it may, or answers dropped because it keeps as many as it may (`answers`).";
    FORWARDED: "counter" "switchboard_forwarded_total" ["outcome"]
        "Requests about what another replica has, by what came of passing them on. Only with `server.cluster`.";
    POLICY_DECISIONS: "counter" "switchboard_policy_decisions_total" ["policy", "decision"]
        "Decisions of a policy about calls. would_deny: allowed, since the policy is in shadow mode.";
    RESULTS_CAPPED: "counter" "switchboard_results_capped_total" ["over", "backend"]
        "Results that were larger than they may be, by what became of them: truncate, handle or refuse.";
    LIMIT_DECISIONS: "counter" "switchboard_limit_decisions_total" ["policy", "name", "decision"]
        "Decisions of each limit and budget: policy is limit or budget, name its name in the configuration. unchecked and unavailable are those made while the store was away.";
    LIMIT_SIZE: "gauge" "switchboard_limit_size" ["policy", "name", "measure"]
        "How much there is of each limit and budget: of a rate its burst, of a budget what it has for a window.";
    LIMIT_LEFT: "gauge" "switchboard_limit_left" ["policy", "name", "measure"]
        "How much is left: where principals, profiles, backends, tools or conversations are counted apart, of the one that has least. Not with a Redis.";
    LIMIT_EXHAUSTED: "gauge" "switchboard_limit_exhausted" ["policy", "name", "measure"]
        "How many of those that are counted apart have nothing left. Not with a Redis.";
    STORE_UP: "gauge" "switchboard_store_up" []
        "1 while the store of limits and budgets answers, 0 while it does not. Only with a Redis.";
    STORE_FAILURES: "counter" "switchboard_store_failures_total" ["reason"]
        "Times that the store of limits and budgets gave no usable answer. Only with a Redis.";
    REDACTIONS: "counter" "switchboard_redactions_total" ["type", "place"]
        "Secrets taken out of text. type is `secret` for a value of the configuration, a type of tokens, or the name of a pattern; place a backend, or `logs`, `traces` or `audit`.";
    AUDIT_DROPPED: "counter" "switchboard_audit_dropped_total" ["reason"]
        "Records of the audit that are lost.";
    AUTHENTICATIONS: "counter" "switchboard_authentications_total" ["outcome"]
        "Requests to the endpoint by what their credential was worth, where one is needed.";
    CLIENT_CALLS: "counter" "switchboard_client_calls_total" ["era", "version"]
        "Calls by the version of the protocol that their clients speak.";
    HEALTH_ROUND: "gauge" "switchboard_health_round_completed_timestamp_seconds" []
        "When everything in the gateway last answered in time, in seconds since 1970; 0 before.";
    HEALTH_ROUND_INTERVAL: "gauge" "switchboard_health_round_interval_seconds" []
        "The time between two health rounds, in seconds.";
    HTTP_REQUESTS: "counter" "switchboard_http_requests_total" ["status"]
        "Answered HTTP requests by status code.";
    TELEMETRY_DROPPED: "counter" "switchboard_telemetry_dropped_total" ["signal"]
        "Log lines and spans that were dropped because their queue was full or their export failed.";
    TASKS: "gauge" "switchboard_tasks" []
        "Tasks alive in the async runtime.";
    BUILD_INFO: "gauge" "switchboard_build_info" ["version"]
        "Always 1; the version is in the label.";
    PROCESS_CPU: "counter" "process_cpu_seconds_total" []
        "CPU time of the process, user and system, in seconds.";
    PROCESS_OPEN_FDS: "gauge" "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS: "gauge" "process_max_fds" []
        "Limit on open file descriptors.";
    PROCESS_MEMORY: "gauge" "process_resident_memory_bytes" []
        "Resident memory in bytes.";
    PROCESS_THREADS: "gauge" "process_threads" []
        "Threads of the process.";
    PROCESS_START: "gauge" "process_start_time_seconds" []
        "When the process set up its metrics, in seconds since 1970.";
}
