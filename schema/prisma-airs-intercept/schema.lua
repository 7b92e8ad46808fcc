-- SPDX-License-Identifier: Apache-2.0
-- Made by `make generate` from the plugin's declaration: change that instead.
return {
  name = "prisma-airs-intercept",
  fields = {
    { protocols = {
      description = "The request protocols that the plugin runs for.",
      type = "set",
      required = true,
      default = { "grpc", "grpcs", "http", "https" },
      elements = {
        type = "string",
        one_of = { "grpc", "grpcs", "http", "https" },
      },
    } },
    { consumer = {
      description = "Must be unset: the plugin cannot be configured for one consumer.",
      type = "foreign",
      reference = "consumers",
      eq = ngx.null,
    } },
    { config = {
      type = "record",
      required = true,
      fields = {
        { api_key = {
          description = "Prisma AIRS API key, sent as `x-pan-token`.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { api_key_file = {
          description = "File with the API key, read again when it changes or the service refuses the key.",
          type = "string",
          starts_with = "/",
        } },
        { oauth_client_id = {
          description = "Id of a client for which `oauth_token_url` gives bearer tokens, which scans carry in place of an API key, or beside one that is set.",
          type = "string",
          referenceable = true,
        } },
        { oauth_client_secret = {
          description = "Secret of `oauth_client_id`.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { oauth_token_url = {
          description = "URL that gives tokens by OAuth's client credentials grant, with the credentials in the header or, where that is refused, in the body. Unset: `https://auth.apps.paloaltonetworks.com/oauth2/access_token`.",
          type = "string",
          referenceable = true,
        } },
        { oauth_scope = {
          description = "Scope to ask tokens for, such as `tsg_id:1234567890`.",
          type = "string",
          len_min = 1,
          len_max = 500,
        } },
        { profile_name = {
          description = "AI security profile that scans are judged under. With neither this nor `profile_id`, the service takes the profile linked to the API key, and refuses scans where there is none.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { profile_id = {
          description = "The profile's UUID, which stays when its name changes. Wins over `profile_name`.",
          type = "string",
          match = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$",
        } },
        { profile_claim = {
          description = "Claim that chooses the profile per request, read only from a bearer token that Kong's jwt plugin has verified. Others get `fallback_profile_name`. Costs Kong two calls per exchange.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { profile_claim_map = {
          description = "Profile for each value of the claim. Of a claim with several values the first that stands here counts.",
          type = "map",
          keys = { type = "string" },
          values = {
            type = "string",
            len_min = 1,
            len_max = 100,
          },
        } },
        { fallback_profile_name = {
          description = "Profile for requests whose claim is missing, unverified or names none: choose the strictest. Unset: `profile_id` or `profile_name`.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { allowed_profiles = {
          description = "Profiles that the claim may name itself without a `profile_claim_map`.",
          type = "set",
          elements = {
            type = "string",
            len_min = 1,
            len_max = 100,
          },
        } },
        { profile_claim_header = {
          description = "Request header to read the claim from instead of the token. By setting it you declare that your authentication plugin overwrites it in every request, those of anonymous callers included: who can send it chooses the profile.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { app_name = {
          description = "Application reported to the service: `kong-<app_name>`, or `kong` when unset.",
          type = "string",
        } },
        { app_user_source = {
          description = "User reported to the service: the Kong `service`, or the Kong `consumer` (username, custom id or id), if there is one. The consumer costs Kong a call per exchange.",
          type = "string",
          default = "service",
          one_of = { "service", "consumer" },
        } },
        { send_user_ip = {
          description = "Report the client's address as `user_ip`. Costs Kong a call per exchange.",
          type = "boolean",
          default = false,
        } },
        { api_endpoint = {
          description = "URL of the synchronous scan API. One without a path gets `/v1/scan/sync/request`.",
          type = "string",
          referenceable = true,
          default = "https://service.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request",
        } },
        { max_retries = {
          description = "How often a scan is repeated after a connection error, 502, 503 or 504, within `timeout_ms`.",
          type = "integer",
          default = 1,
          between = { 0, 3 },
        } },
        { mask_sensitive_data = {
          description = "Where only sensitive data was found and its place is certain, rewrite prompts and answers with the service's masked text instead of blocking them. Other findings are blocked as without it.",
          type = "boolean",
          default = false,
        } },
        { alert_only_detectors = {
          description = "Detectors that only report: what the service blocks for these alone goes on, with a warning in the log. Blocks that name another detector, or none, stay. `mask_sensitive_data` still masks.",
          type = "set",
          elements = {
            type = "string",
            one_of = { "dlp", "injection", "url_cats", "toxic_content", "malicious_code", "source_code", "agent", "topic_violation", "db_security", "ungrounded" },
          },
        } },
        { session_id_header = {
          description = "Request header that names the conversation, reported as `session_id`. Unset: `Mcp-Session-Id` where a client sends it and its version of MCP has sessions (up to 2025-11-25), else the task of an MCP call.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { block_message = {
          description = "What clients read of a block, in the error format of their API. Unset: that it was blocked by security policy.",
          type = "string",
          len_min = 1,
          len_max = 500,
        } },
        { set_observability_headers = {
          description = "Tell clients the verdict in `x-airs-verdict`, `x-airs-scan-id` and `x-airs-total-ms`. Costs Kong three calls per exchange.",
          type = "boolean",
          default = false,
        } },
        { scan_sse_responses = {
          description = "Scan event streams, held back until whole. False passes the answer to a request for a stream unscanned, as it comes.",
          type = "boolean",
          default = true,
        } },
        { sse_provider = {
          description = "What `x-prisma-airs-sse-provider` calls a stream's format; `auto` finds it out. What is scanned does not depend on it.",
          type = "string",
          default = "auto",
          one_of = { "auto", "openai_chat", "openai_responses", "anthropic_messages", "raw" },
        } },
        { sse_max_scan_chars = {
          description = "Most characters of a stream in one scan; longer texts take several. The default stands for the service's own limit.",
          type = "number",
          default = 20000,
          between = { 1, 20000 },
        } },
        { sse_truncation_fail_closed = {
          description = "Refuse a stream that takes more scans than a leg may have. False scans as many as it may and passes the rest unscanned.",
          type = "boolean",
          default = true,
        } },
        { sse_set_observability_headers = {
          description = "Tell clients of a scanned stream in `x-prisma-airs-sse-detected`, `x-prisma-airs-sse-scan-mode`, `x-prisma-airs-sse-provider`, `x-prisma-airs-sse-truncated`. Costs Kong four calls per stream.",
          type = "boolean",
          default = false,
        } },
        { monitor_mode = {
          description = "Watch only: scan and log both legs after the exchange has gone on; block and change nothing. `request_mode` and `response_mode` override it for their leg.",
          type = "boolean",
          default = false,
        } },
        { request_mode = {
          description = "`enforce` lets no request pass without an allow, `monitor` scans requests that have gone on and blocks none, `off` does not look. Unset: `monitor` with `monitor_mode`, else `enforce`.",
          type = "string",
          one_of = { "enforce", "monitor", "off" },
        } },
        { response_mode = {
          description = "As `request_mode`, for answers; also when unset.",
          type = "string",
          one_of = { "enforce", "monitor", "off" },
        } },
        { block_failures = {
          description = "Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets that pass, marked as unscanned, except a timeout that the size of what was sent explains; other refusals stay.",
          type = "boolean",
          default = true,
        } },
        { block_failures_response = {
          description = "The same for answers only. Unset: as `block_failures`.",
          type = "boolean",
        } },
        { timeout_ms = {
          description = "Milliseconds that one scan may take, retries included.",
          type = "integer",
          default = 5000,
          between = { 100, 45000 },
        } },
        { ssl_verify = {
          description = "Verify the scan service's TLS certificate. False is for tests only.",
          type = "boolean",
          default = true,
        } },
        { ca_file = {
          description = "PEM file of the certificate authorities for the scan service. Unset: the system's.",
          type = "string",
          starts_with = "/",
        } },
        { http_proxy = {
          description = "HTTP proxy to the scan service, such as `http://proxy.example:3128`; a user and password are allowed. Proxy variables of the environment are not seen.",
          type = "string",
          referenceable = true,
        } },
        { max_request_body_bytes = {
          description = "Larger request bodies, also after decompression, are refused with 413.",
          type = "integer",
          default = 10485760,
          between = { 1024, 67108864 },
        } },
        { max_response_body_bytes = {
          description = "Larger answers, also after decompression, are refused with 502.",
          type = "integer",
          default = 10485760,
          between = { 1024, 67108864 },
        } },
        { keep_buffering = {
          description = "Never switch Kong's response buffering off, for other plugins on the route that need whole answers.",
          type = "boolean",
          default = false,
        } },
        { unscannable = {
          description = "Content that cannot be read, such as an unknown encoding: `block` it, or `allow` it unscanned.",
          type = "string",
          default = "block",
          one_of = { "block", "allow" },
        } },
        { media_parts = {
          description = "Images, audio, video and other binary files that the scan service does not judge. Their URLs and names are always scanned.",
          type = "string",
          default = "allow",
          one_of = { "allow", "block" },
        } },
        { stored_context = {
          description = "Requests that refer to what their API keeps and no request shows (an earlier answer, conversation, stored prompt, uploaded file, vector store, container, cache): `allow` counts them and lets them pass, `block` refuses them.",
          type = "string",
          default = "allow",
          one_of = { "allow", "block" },
        } },
        { scan_error_answers = {
          description = "Scan upstream answers with status 400 and above too. Those of MCP are always scanned.",
          type = "boolean",
          default = false,
        } },
        { scan_scope = {
          description = "What of a request is scanned: `everything` the model could read, with tool definitions; the `conversation` (turns, tool calls and results, system text); `user` turns; the `last_user` turn; what is `new` after the model's last turn, with tool results, and system text and definitions not scanned before. The last turn, and text in places unknown to the format, are always scanned.",
          type = "string",
          default = "everything",
          one_of = { "everything", "conversation", "user", "last_user", "new" },
        } },
        { strip_scaffolding = {
          description = "Scan what coding programs put into users' messages (`<system-reminder>`, `<environment_context>` and the like, on lines of their own) as system text, apart from what users say. In tool results it stays what it is.",
          type = "boolean",
          default = false,
        } },
        { mcp_get_stream = {
          description = "Event streams that MCP clients keep open, which Kong's phases cannot scan: `pass` them unscanned, or `refuse` a GET with 405 (\"no stream here\") and `subscriptions/listen` of MCP 2026-07-28 with 404 and JSON-RPC's -32601 (\"no such method\"). Relayed ones flow and are judged either way.",
          type = "string",
          default = "refuse",
          one_of = { "refuse", "pass" },
        } },
        { monitor_streams = {
          description = "Streamed answers in monitor mode: `pass` lets them flow and counts them as not seen, `buffer` delivers and reports them whole.",
          type = "string",
          default = "pass",
          one_of = { "pass", "buffer" },
        } },
        { relay = {
          description = "`on` takes exchanges through a listener of the plugin server: streams flow while scanned, in monitor mode too, and Kong buffers no answer. Quote it: YAML takes a bare on for true. Given up: other plugins' response phases and the service's TLS settings. Services with a client certificate, or whose host is a Kong upstream without `relay_upstream`, stay with the phases.",
          type = "string",
          default = "off",
          one_of = { "off", "on" },
        } },
        { relay_upstream = {
          description = "http or https URL that relayed requests go to in place of the service's, with the path that Kong sends appended. The service's URL can then lead nowhere (`http://127.0.0.1:1`), so that nothing reaches the model without the plugin. Of two relayed plugins on a route, only the first to run may have it. Unset: where Kong was about to send them.",
          type = "string",
          referenceable = true,
        } },
        { relay_tls_verify = {
          description = "Verify the certificates of https upstreams that relayed requests go to, as Kong does only where its `tls_verify` says so. False is for tests only.",
          type = "boolean",
          default = true,
        } },
        { relay_ca_file = {
          description = "PEM file of the certificate authorities for relayed upstreams. Unset: the system's.",
          type = "string",
          starts_with = "/",
        } },
        { stream_release = {
          description = "When text of a relayed stream goes out: once a scan allowed it (`scanned`), which readers wait for, or `at_once`, while it is scanned: a block then cuts the stream, and clients may have seen up to a scan's time of what is blocked.",
          type = "string",
          default = "scanned",
          one_of = { "scanned", "at_once" },
        } },
        { stream_scan_chars = {
          description = "New characters of a relayed stream that start the next scan. If fewer come, they start it as long after the last one began as that one took, but at least 200 and at most 500 ms. Small values show a fast model's text sooner and cost more scans; slow models take two to five scans a second.",
          type = "integer",
          default = 400,
          between = { 100, 10000 },
        } },
        { stream_context_chars = {
          description = "Characters before the new ones that each scan of a relayed stream repeats, to see what is spread over pieces. The last scan always shows the whole answer.",
          type = "integer",
          default = 2000,
          between = { 100, 20000 },
        } },
        { prompt_scan = {
          description = "`before`: enforced requests wait for their verdict. `beside`: their answers wait instead, which saves a scan's time, but the model gets blocked prompts too, and is paid. What a block could not undo always waits: MCP calls, what the API keeps for other requests (conversations, files, `store`), requests of no known API, everything where masking is on. Without the relay it has no effect where no scan holds the answer back.",
          type = "string",
          default = "before",
          one_of = { "before", "beside" },
        } },
        { refusal_style = {
          description = "How clients learn of a block: by an `error` with its status, or by a `message` as the model's turn, with status 200 and the header `X-AI-Guard-Refused`, whole or streamed as asked for, so that programs which end a session over an error go on. Only conversations and completions get it; other refusals stay errors.",
          type = "string",
          default = "error",
          one_of = { "error", "message" },
        } },
        { allow_early_mask = {
          description = "Mask an answer although a later scanning plugin of the route then does not see it. False blocks it.",
          type = "boolean",
          default = false,
        } },
        { mark_requests = {
          description = "Mark, in Kong's shared context, each leg that the plugin is done with, so that `kong/fail-closed` can refuse unmarked ones where Kong goes on when a plugin server fails. Costs Kong a call per leg.",
          type = "boolean",
          default = false,
        } },
        { refuse_http2 = {
          description = "Refuse HTTP/2 requests with 505 where answers are enforced. For Kong before 3.9, which hides these answers from plugins.",
          type = "boolean",
          default = false,
        } },
        { debug = {
          description = "Log more about each exchange, never its text or secrets.",
          type = "boolean",
          default = false,
        } },
      },
    } },
  },
  entity_checks = {
    { at_least_one_of = { "config.api_key", "config.api_key_file", "config.oauth_client_id" } },
    { mutually_exclusive = { "config.api_key", "config.api_key_file" } },
  },
}
