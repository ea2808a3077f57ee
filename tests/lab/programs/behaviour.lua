-- What a web server of the lab does with a request before it answers, as its `behaviour` file says at that moment.
-- See `Behaviour` in tests/lab/src/behaviour.rs, which writes the file.

local path = ngx.var.behaviour_file

-- The line for this request's path, else the one for all: itself, its kind and its arguments.
local function look()
  local file = io.open(path)
  if not file then
    return nil, "normal"
  end
  local any, own
  for line in file:lines() do
    local where = line:match("^%d+ (%S+)")
    if where == ngx.var.uri then own = line elseif where == "*" then any = line end
  end
  file:close()
  local line = own or any
  if not line then
    return nil, "normal"
  end
  return line, line:match("^%d+ %S+ (%S+) ?(%S*) ?(%S*)$")
end

local line, kind, first, second = look()
if kind == "hang" then
  while look() == line do
    ngx.sleep(0.02)
  end
  return ngx.exit(444)
elseif kind == "close" then
  return ngx.exit(444)
elseif kind == "cut" then
  ngx.header["Content-Length"] = 1000
  ngx.print(string.rep("x", 500))
  ngx.flush(true)
  return ngx.exit(444)
elseif kind == "garbage" then
  local socket = ngx.req.socket(true)
  socket:send("this is no HTTP\r\n\r\n")
  return ngx.exit(444)
elseif kind == "status" then
  return ngx.exit(tonumber(first))
elseif kind == "slow" then
  ngx.sleep(tonumber(first))
elseif kind == "flap" then
  -- The line holds the generation: what is set anew is counted anew.
  local before = ngx.shared.flap:incr(line, 1, 0) - 1
  if before % (first + second) >= tonumber(first) then
    return ngx.exit(503)
  end
end
