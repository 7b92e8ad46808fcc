-- SPDX-License-Identifier: Apache-2.0
-- For post-function, in access: refuses a request that a plugin did not mark.
-- Name here the plugins that are on the route with mark_requests: true.
for _, plugin in ipairs({ "prisma-airs-intercept", "noma-runtime-protection" }) do
  if kong.ctx.shared["ai_guard:" .. plugin .. ":request"] ~= "done" then
    kong.log.err("[", plugin, "] request refused: the plugin did not check it")
    return kong.response.exit(503,
      '{"error":{"message":"The request could not be checked, please try again later",' ..
      '"type":"server_error","param":null,"code":"guard_failure"},' ..
      '"message":"The request could not be checked, please try again later"}',
      { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-store", ["Retry-After"] = "5" })
  end
end
