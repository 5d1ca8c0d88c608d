-- wrk script: POSTs the file BODY as TYPE; HEADER_LENGTH is that of binary tensors.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = os.getenv("TYPE")
if os.getenv("HEADER_LENGTH") then wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH") end
file:close()

local pause = tonumber(os.getenv("DELAY_MS")) or 0
if pause > 0 then
  function delay() return math.random(2 * pause) end -- on average the pause, and not all at once
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("RESULT %.3f %d %d %d %.0f %.0f", summary.duration / 1e6, summary.requests, e.status,
                      e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
