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
          description = "Application that exchanges are reported under. Unset: the name of the Kong consumer, else `kong`.",
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
          description = "Absolute path of a file that holds the client secret. It is read again when it changes, so that a rotated secret needs no new configuration.",
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
          description = "API key, for an account that has one instead of client credentials. `client_ID` and its secret win when both are set.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { token_url = {
          description = "URL that gives tokens for the client credentials. Unset: `/auth` below `API_base` or, where that is not found, `/v1/oauth/token`.",
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
          description = "Mask prompts and answers in which nothing but sensitive data was found, where the service leaves that to the gateway, instead of blocking them. When the service itself asks for a mask, it gets one either way.",
          type = "boolean",
          default = false,
        } },
        { trust_client_application_id = {
          description = "Let clients name the application: in the body as `guardrails.<any name>.extra_body.application_id`, as clients of LiteLLM do, or in the header `X-Noma-Application-ID`. In enforce mode, the body's `guardrails` object is cut out before the request goes on.",
          type = "boolean",
          default = false,
        } },
        { block_details = {
          description = "What the answer to a blocked client says of the reason: `none`, or the names of the `detectors` that fired, in `error.details`. Never their confidence, nor any text.",
          type = "string",
          default = "none",
          one_of = { "none", "detectors" },
        } },
        { send_client_ip = {
          description = "Tell the service the client's address, as Kong sees it behind trusted proxies. False spares Kong one call per exchange.",
          type = "boolean",
          default = true,
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
          default = 10000,
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
    { mutually_exclusive = { "config.client_secret", "config.client_secret_file" } },
  },
}
