-- SPDX-License-Identifier: Apache-2.0
-- Made by `make generate` from the plugin's declaration: change that instead.
return {
  name = "noma-runtime-protection",
  fields = {
    { protocols = {
      description = "The request protocols that the plugin runs for.",
      type = "set",
      required = true,
      default = { "http", "https" },
      elements = {
        type = "string",
        one_of = { "http", "https" },
      },
    } },
    { config = {
      type = "record",
      required = true,
      fields = {
        { API_base = {
          description = "Base URL of the Noma AI-DR API.",
          type = "string",
          referenceable = true,
          default = "https://api.noma.security",
        } },
        { application_ID = {
          description = "Application that exchanges are reported under. Unset: the Kong consumer's name, else `kong`.",
          type = "string",
        } },
        { client_ID = {
          description = "Client ID for OAuth2 authentication.",
          type = "string",
          referenceable = true,
        } },
        { client_secret = {
          description = "Client secret for OAuth2 authentication.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { client_secret_file = {
          description = "File with the client secret, read again when it changes or the service refuses the secret.",
          type = "string",
          starts_with = "/",
        } },
        { api_base = {
          description = "Another spelling of `API_base`.",
          type = "string",
          referenceable = true,
        } },
        { application_id = {
          description = "Another spelling of `application_ID`.",
          type = "string",
        } },
        { client_id = {
          description = "Another spelling of `client_ID`.",
          type = "string",
          referenceable = true,
        } },
        { api_key = {
          description = "API key of an account without client credentials, which win when both are set.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { token_url = {
          description = "URL that gives tokens for the client credentials. Unset: `/auth` below `API_base`, or `/v1/oauth/token` where that is not found.",
          type = "string",
          referenceable = true,
        } },
        { scan_path = {
          description = "Path of the scan below `API_base`.",
          type = "string",
          default = "/ai-dr/v2/prompt/scan",
          starts_with = "/",
        } },
        { anonymize_input = {
          description = "Mask prompts and answers in which only sensitive data was found instead of blocking them, where the service leaves that to the gateway. A mask that the service itself asks for comes either way.",
          type = "boolean",
          default = false,
        } },
        { trust_client_application_id = {
          description = "Let clients name the application: in the body as `guardrails.<any name>.extra_body.application_id`, as LiteLLM's clients do, or in the header `X-Noma-Application-ID`. Enforce mode cuts the body's `guardrails` object out before the request goes on.",
          type = "boolean",
          default = false,
        } },
        { block_details = {
          description = "What a blocked client learns of the reason: `none`, or in `error.details` the names of the `detectors` that fired, never their confidence, nor any text.",
          type = "string",
          default = "none",
          one_of = { "none", "detectors" },
        } },
        { send_client_ip = {
          description = "Tell the service the client's address, as Kong sees it behind trusted proxies. False spares Kong a call per exchange.",
          type = "boolean",
          default = true,
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
          default = 10000,
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
    { mutually_exclusive = { "config.client_secret", "config.client_secret_file" } },
  },
}
