-- wrk script: POSTs the file BODY, and BODY.1, BODY.2 … where they are, in turn, as TYPE; HEADER_LENGTH is that of binary tensors.
wrk.method = "POST"
wrk.headers["Content-Type"] = os.getenv("TYPE")
if os.getenv("HEADER_LENGTH") then wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH") end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local bytes = file:read("*a")
  file:close()
  return bytes
end

local requests, turn = {}, 0
function init() -- once the headers have the address in them
  local body = assert(read(os.getenv("BODY")))
  while body do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
    body = read(os.getenv("BODY") .. "." .. #requests)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

local pause = tonumber(os.getenv("DELAY_MS")) or 0
if pause > 0 then
  function delay() return math.random(2 * pause) end -- on average the pause, and not all at once
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("RESULT %.3f %d %d %d %.0f %.0f", summary.duration / 1e6, summary.requests, e.status,
                      e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
