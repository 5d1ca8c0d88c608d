-- wrk script: POSTs the file BODY as TYPE; HEADER_LENGTH is that of binary tensors.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = os.getenv("TYPE")
if os.getenv("HEADER_LENGTH") then wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH") end
file:close()

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format("RESULT %.3f %d %d %.0f %.0f", summary.duration / 1e6, summary.requests, failed,
                      latency:percentile(50), latency:percentile(99)))
end
