-- SPDX-License-Identifier: Apache-2.0
-- Has Kong read answers whole, so that plugins see them. A mark that stands
-- there already is left alone: the scanning plugins find their own by it.
if not ngx.ctx.buffered_proxying then
  kong.service.request.enable_buffering()
end
