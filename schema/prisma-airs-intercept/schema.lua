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
          description = "Prisma AIRS API key, sent as `x-pan-token`. Required unless `api_key_file` or `oauth_client_id` is set.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { api_key_file = {
          description = "Absolute path of a file that holds the API key. It is read again when it changes, so that a rotated key needs no new configuration.",
          type = "string",
          starts_with = "/",
        } },
        { oauth_client_id = {
          description = "Id of a client for which `oauth_token_url` gives bearer tokens. Scans then carry a token instead of the API key, or beside it where a key is set too.",
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
          description = "URL that gives tokens by OAuth's client credentials grant. Unset: `https://auth.apps.paloaltonetworks.com/oauth2/access_token`. It is asked with the credentials in the header, and in the body where that is refused.",
          type = "string",
          referenceable = true,
        } },
        { oauth_scope = {
          description = "Scope that tokens are asked for, such as `tsg_id:1234567890`. Unset: none.",
          type = "string",
          len_min = 1,
          len_max = 500,
        } },
        { profile_name = {
          description = "Name of the AI security profile that scans are judged under. When neither this nor `profile_id` is set, the service takes the profile that the API key is linked to, and refuses scans where there is none.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { profile_id = {
          description = "Id (a UUID) of the AI security profile, which stays when its name changes. Sent instead of `profile_name` when both are set.",
          type = "string",
          match = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$",
        } },
        { profile_claim = {
          description = "Claim of the caller's token that chooses the profile per request. It is read only from a bearer token that Kong's jwt plugin has verified; everybody else gets `fallback_profile_name`. Costs Kong two calls per exchange.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { profile_claim_map = {
          description = "Name of the profile for each value of the claim. Of a claim with several values the first that stands here counts.",
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
          description = "Profiles that the claim may name itself when there is no `profile_claim_map`. Unset: none.",
          type = "set",
          elements = {
            type = "string",
            len_min = 1,
            len_max = 100,
          },
        } },
        { profile_claim_header = {
          description = "Request header to read the claim's value from instead of the token. By setting it you declare that your authentication plugin overwrites this header in every request, also where it lets anonymous callers pass: who can send it chooses the profile.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { app_name = {
          description = "Name of the application: `kong-<app_name>` is reported to the service, `kong` when unset.",
          type = "string",
        } },
        { app_user_source = {
          description = "What is reported to the service as the user: the Kong `service`, or the Kong `consumer` (its username, custom id or id), which is the service where there is none. The consumer costs Kong a call per exchange.",
          type = "string",
          default = "service",
          one_of = { "service", "consumer" },
        } },
        { send_user_ip = {
          description = "Report the client's address to the service as `user_ip`. Costs Kong a call per exchange.",
          type = "boolean",
          default = false,
        } },
        { api_endpoint = {
          description = "URL of the synchronous scan API. A base URL without a path is completed with `/v1/scan/sync/request`.",
          type = "string",
          referenceable = true,
          default = "https://service.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request",
        } },
        { max_retries = {
          description = "How often a scan is repeated after a connection error or a status 502, 503 or 504, within `timeout_ms`.",
          type = "integer",
          default = 1,
          between = { 0, 3 },
        } },
        { mask_sensitive_data = {
          description = "Rewrite a prompt or an answer with the service's masked text when sensitive data is all that was found and its place is certain. Everything else is blocked as without it.",
          type = "boolean",
          default = false,
        } },
        { alert_only_detectors = {
          description = "Detectors that report and do not block: a block by the service for which only these fired goes on, with a warning in the log. What any other detector found, and a block for which none is named, is blocked. `mask_sensitive_data` still masks.",
          type = "set",
          elements = {
            type = "string",
            one_of = { "dlp", "injection", "url_cats", "toxic_content", "malicious_code", "source_code", "agent", "topic_violation", "db_security", "ungrounded" },
          },
        } },
        { session_id_header = {
          description = "Request header that names the conversation, reported to the service as `session_id`. Unset: `Mcp-Session-Id` where a client sends it and its version of MCP has sessions (up to 2025-11-25), else the task that an MCP call is about.",
          type = "string",
          len_min = 1,
          len_max = 100,
        } },
        { block_message = {
          description = "What clients read when the service blocks a request or an answer, in the error format of the API that they called. Unset: that it was blocked by security policy.",
          type = "string",
          len_min = 1,
          len_max = 500,
        } },
        { set_observability_headers = {
          description = "Tell clients the verdict in headers of the answer: `x-airs-verdict`, `x-airs-scan-id` and `x-airs-total-ms`. Costs Kong three calls per exchange.",
          type = "boolean",
          default = false,
        } },
        { scan_sse_responses = {
          description = "Scan answers in event streams, which are held back until they are whole. False passes the answer to a request for a stream unscanned and as it comes.",
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
          description = "Most characters of a stream's text in one scan; longer texts take several. The default stands for the service's own limit.",
          type = "number",
          default = 20000,
          between = { 1, 20000 },
        } },
        { sse_truncation_fail_closed = {
          description = "Refuse a stream whose text takes more scans than one leg may have. False scans as much as it may and passes the rest unscanned.",
          type = "boolean",
          default = true,
        } },
        { sse_set_observability_headers = {
          description = "Tell clients about a scanned stream in headers of the answer: `x-prisma-airs-sse-detected`, `x-prisma-airs-sse-scan-mode`, `x-prisma-airs-sse-provider`, `x-prisma-airs-sse-truncated`. Costs Kong four calls per stream.",
          type = "boolean",
          default = false,
        } },
        { monitor_mode = {
          description = "Watch only: scan and log on both legs, after the exchange has gone on, and never block or change anything. `request_mode` and `response_mode` override it for their leg.",
          type = "boolean",
          default = false,
        } },
        { request_mode = {
          description = "What is done with requests: `enforce` lets nothing pass that has no allow, `monitor` scans after the request has gone on and blocks nothing, `off` does not look. Unset: `monitor` when `monitor_mode` is true, else `enforce`.",
          type = "string",
          one_of = { "enforce", "monitor", "off" },
        } },
        { response_mode = {
          description = "What is done with answers, in the words of `request_mode`. Unset: `monitor` when `monitor_mode` is true, else `enforce`.",
          type = "string",
          one_of = { "enforce", "monitor", "off" },
        } },
        { block_failures = {
          description = "Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets these pass, marked as unscanned, but not a timeout that the size of what was sent explains; every other refusal stays.",
          type = "boolean",
          default = true,
        } },
        { block_failures_response = {
          description = "The same for answers only. Unset: as `block_failures`.",
          type = "boolean",
        } },
        { timeout_ms = {
          description = "How long one scan may take in all, retries included, in milliseconds.",
          type = "integer",
          default = 5000,
          between = { 100, 45000 },
        } },
        { ssl_verify = {
          description = "Verify the scan service's TLS certificate. Set it to false only for tests.",
          type = "boolean",
          default = true,
        } },
        { ca_file = {
          description = "Absolute path of a PEM file with the certificate authorities to trust for the scan service. Unset: the system's.",
          type = "string",
          starts_with = "/",
        } },
        { http_proxy = {
          description = "URL of the HTTP proxy to the scan service, such as `http://proxy.example:3128`; it may hold a user and password. The process sees no proxy variables of the environment. Unset: no proxy.",
          type = "string",
          referenceable = true,
        } },
        { max_request_body_bytes = {
          description = "Largest request body in bytes, also after decompression. Larger ones are refused with 413.",
          type = "integer",
          default = 10485760,
          between = { 1024, 67108864 },
        } },
        { max_response_body_bytes = {
          description = "Largest answer body in bytes, also after decompression. Larger ones are refused with 502.",
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
          description = "What becomes of content that cannot be read, such as an unknown encoding: `block` or, unscanned, `allow`.",
          type = "string",
          default = "block",
          one_of = { "block", "allow" },
        } },
        { media_parts = {
          description = "What becomes of images, audio, video and other binary files that the scan service does not judge. Their URLs and names are scanned in any case.",
          type = "string",
          default = "allow",
          one_of = { "allow", "block" },
        } },
        { stored_context = {
          description = "What becomes of requests that refer to what their API keeps (an earlier answer by its id, a conversation, a stored prompt, an uploaded file, a vector store, a container, a cache). The model reads that, and no request shows it: `allow` lets them pass and counts them, `block` refuses them.",
          type = "string",
          default = "allow",
          one_of = { "allow", "block" },
        } },
        { scan_error_answers = {
          description = "Scan upstream answers with status 400 and above too. Those of MCP exchanges always are.",
          type = "boolean",
          default = false,
        } },
        { scan_scope = {
          description = "How much of a request is scanned: `everything` the model could read, tool definitions included; the `conversation` (turns, tool calls and results, system text); the `user` turns; the `last_user` turn; or what is `new` after the model's last turn, tool results included, with system text and definitions that were not scanned before. The last turn, and text in places that the format does not know, always are.",
          type = "string",
          default = "everything",
          one_of = { "everything", "conversation", "user", "last_user", "new" },
        } },
        { mcp_get_stream = {
          description = "What becomes of an event stream that MCP clients keep open, which Kong's phases cannot scan. By a GET: `refuse` with 405, which they take as \"no stream here\", or `pass` it unscanned. By `subscriptions/listen` of MCP 2026-07-28: `refuse` with 404 and JSON-RPC's -32601 (\"no such method\"), or `pass`. Relayed streams flow and are judged, whatever stands here.",
          type = "string",
          default = "refuse",
          one_of = { "refuse", "pass" },
        } },
        { monitor_streams = {
          description = "What monitor mode does with answers that come as a stream: `pass` lets their tokens flow, and the answer is counted as not seen; `buffer` delivers and reports it whole.",
          type = "string",
          default = "pass",
          one_of = { "pass", "buffer" },
        } },
        { relay = {
          description = "`on` takes exchanges through a listener of the plugin server: streams flow while they are scanned, in monitor mode too, and Kong buffers no answer. Write it in quotes, since YAML takes a bare on for true. Relayed exchanges give up the response phase of other plugins and the TLS settings of the service. Those of a service that has a client certificate, or whose host is a Kong upstream and no `relay_upstream` says where to, stay with the phases.",
          type = "string",
          default = "off",
          one_of = { "off", "on" },
        } },
        { relay_upstream = {
          description = "http or https URL that relayed requests go to in place of the service's, which can then lead nowhere (`http://127.0.0.1:1`), so that nothing reaches the model without the plugin. The path that Kong sends is put after this URL's. Of two relayed plugins on a route, only the one that runs first may have it. Unset: where Kong was about to send them.",
          type = "string",
          referenceable = true,
        } },
        { relay_tls_verify = {
          description = "Verify the certificate of an https upstream that relayed requests go to, as Kong does only where its `tls_verify` says so. Set it to false only for tests.",
          type = "boolean",
          default = true,
        } },
        { relay_ca_file = {
          description = "Absolute path of a PEM file with the certificate authorities to trust for relayed upstreams. Unset: the system's.",
          type = "string",
          starts_with = "/",
        } },
        { stream_release = {
          description = "When the text of a relayed stream goes out: `scanned` holds each piece until a scan allowed it, which costs the reader the time of a scan; `at_once` lets it go while it is scanned and cuts the stream at a verdict, so that clients may have seen up to a scan's time of what is then blocked.",
          type = "string",
          default = "scanned",
          one_of = { "scanned", "at_once" },
        } },
        { stream_scan_chars = {
          description = "New characters of a relayed stream that start the next scan. Without as many, new text starts it as long after the last one began as that one took, at least 200 and at most 500 ms. Fewer make text of a fast model come sooner and cost more scans; a slow one takes two to five a second.",
          type = "integer",
          default = 400,
          between = { 100, 10000 },
        } },
        { stream_context_chars = {
          description = "Characters before the new ones that each scan of a relayed stream shows again, so that what is spread over pieces is seen. More make scans larger. The last scan shows the whole answer in any case.",
          type = "integer",
          default = 2000,
          between = { 100, 20000 },
        } },
        { prompt_scan = {
          description = "When enforced requests go on: `before` waits for the verdict; `beside` sends them on at once and holds the answer until it is in, which saves the time of a scan. The model then works on prompts that turn out to be blocked, and is paid. What a block could not undo always waits: calls of MCP, what the API keeps for other requests (conversations, files, `store`), requests of no known API, and everything where masking is on. Without the relay it has no effect where no scan holds the answer back.",
          type = "string",
          default = "before",
          one_of = { "before", "beside" },
        } },
        { refusal_style = {
          description = "How a client is told that the service blocked a request or an answer: `error` with the status of a block; `message` as a turn of the model's with status 200 and the header `X-AI-Guard-Refused`, whole or streamed as it was asked for, so that programs which end a session over an error go on. Only conversations and completions are answered so; every other refusal stays an error.",
          type = "string",
          default = "error",
          one_of = { "error", "message" },
        } },
        { allow_early_mask = {
          description = "Mask an answer although a later scanning plugin of the route then does not see it. False blocks such an answer.",
          type = "boolean",
          default = false,
        } },
        { mark_requests = {
          description = "Mark each leg that was dealt with in Kong's shared context, so that the snippets in `kong/fail-closed` can refuse what has no mark. For Kongs that go on without a plugin server that fails. Costs Kong a call per leg.",
          type = "boolean",
          default = false,
        } },
        { refuse_http2 = {
          description = "Refuse requests over HTTP/2 with 505 where the answer is enforced. For Kong before 3.9, which does not show their answers to plugins.",
          type = "boolean",
          default = false,
        } },
        { debug = {
          description = "Log more about each exchange: never its text, never secrets.",
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
