-- SPDX-License-Identifier: Apache-2.0
-- For post-function, in header_filter: replaces an answer of the upstream that
-- a plugin did not mark. What Kong or a plugin answers passes.
-- Name here the plugins that are on the route with mark_requests: true.
if kong.response.get_source() == "service" then
  for _, plugin in ipairs({ "prisma-airs-intercept", "noma-runtime-protection" }) do
    if kong.ctx.shared["ai_guard:" .. plugin .. ":response"] ~= "done" then
      kong.log.err("[", plugin, "] answer refused: the plugin did not check it")
      for _, name in ipairs({ "Content-Encoding", "ETag", "Last-Modified", "Content-MD5", "Digest",
        "Content-Digest", "Repr-Digest", "Content-Range", "Accept-Ranges", "Content-Disposition" }) do
        kong.response.clear_header(name)
      end
      return kong.response.exit(503,
        '{"error":{"message":"The answer could not be checked",' ..
        '"type":"server_error","param":null,"code":"guard_failure"},' ..
        '"message":"The answer could not be checked"}',
        { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-store", ["X-Should-Retry"] = "false" })
    end
  end
end
