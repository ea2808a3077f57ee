-- Answers with what arrived, as JSON: `server`, `peer`, `method`, `uri`, `headers` (names in lower case), `body_bytes`.

local function quoted(text)
  return '"' .. tostring(text):gsub('[%c"\\\128-\255]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

ngx.req.read_body()
local body = ngx.req.get_body_data()
local length = body and #body or 0
local on_disk = ngx.req.get_body_file()
if on_disk then
  local file = io.open(on_disk, "rb")
  length = file:seek("end")
  file:close()
end

local headers = {}
for name, value in pairs(ngx.req.get_headers(0)) do
  if type(value) == "table" then value = table.concat(value, ", ") end
  headers[#headers + 1] = quoted(name) .. ":" .. quoted(value)
end
table.sort(headers)

ngx.header.content_type = "application/json"
local text = ('{"server":%s,"peer":%s,"method":%s,"uri":%s,"headers":{%s},"body_bytes":%d}\n'):format(
  quoted(ngx.var.server_label), quoted(ngx.var.remote_addr), quoted(ngx.req.get_method()),
  quoted(ngx.var.request_uri), table.concat(headers, ","), length)
ngx.header.content_length = #text
ngx.print(text)
