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
          description = "Prisma AIRS API key, sent as `x-pan-token`. Required unless `api_key_file` is set.",
          type = "string",
          referenceable = true,
          encrypted = true,
        } },
        { api_key_file = {
          description = "Absolute path of a file that holds the API key. It is read again when it changes, so that a rotated key needs no new configuration.",
          type = "string",
          starts_with = "/",
        } },
        { profile_name = {
          description = "Name of the AI security profile that scans are judged under.",
          type = "string",
          required = true,
          len_min = 1,
          len_max = 100,
        } },
        { app_name = {
          description = "Name of the application: `kong-<app_name>` is reported to the service, `kong` when unset.",
          type = "string",
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
        { session_id_header = {
          description = "Request header that names the conversation, reported to the service as `session_id`. Unset: `Mcp-Session-Id` where a client sends it.",
          type = "string",
          len_min = 1,
          len_max = 100,
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
          description = "Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets exactly these pass, marked as unscanned; every other refusal stays.",
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
        { scan_error_answers = {
          description = "Scan upstream answers with status 400 and above too. Those of MCP exchanges always are.",
          type = "boolean",
          default = false,
        } },
        { scan_scope = {
          description = "How much of a request is scanned: `everything` the model could read, tool definitions included; the `conversation` (turns, tool calls and results, system text); the `user` turns; or the `last_user` turn. The last turn, and text in places that the format does not know, always are.",
          type = "string",
          default = "everything",
          one_of = { "everything", "conversation", "user", "last_user" },
        } },
        { mcp_get_stream = {
          description = "What becomes of a GET that asks for an event stream, as MCP clients send: `refuse` with 405, which they take as \"no stream here\", or `pass` it unscanned.",
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
        { allow_early_mask = {
          description = "Mask an answer although a later scanning plugin of the route then does not see it. False blocks such an answer.",
          type = "boolean",
          default = false,
        } },
        { mark_requests = {
          description = "Mark each leg that was dealt with in Kong's shared context, so that the functions of `kong/fail-closed` can refuse what has no mark. For Kongs that go on without a plugin server that fails. Costs Kong a call per leg.",
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
    { at_least_one_of = { "config.api_key", "config.api_key_file" } },
    { mutually_exclusive = { "config.api_key", "config.api_key_file" } },
  },
}
