"""The peers of serve.py: a 20-64-32-4 MLP in PyTorch behind FastAPI, as one writes it (APP=plain) and as one tunes it by hand (APP=tuned: no pydantic)."""
import json
import os
from typing import Dict, List, Optional

import numpy
import torch
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

torch.set_num_threads(1)
torch.manual_seed(1)
D = 20
NAMES = [f"f{i}" for i in range(D)]
CLASSES = ["a", "b", "c", "d"]
model = torch.nn.Sequential(torch.nn.Linear(D, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4), torch.nn.Softmax(1)).eval()
app = FastAPI()


class Row(BaseModel):
    user_id: Optional[str] = None
    features: Dict[str, float]


class Body(BaseModel):
    rows: Optional[List[Row]] = None
    columns: Optional[List[str]] = None
    data: Optional[List[List[float]]] = None


def score(x):
    with torch.no_grad():
        p = model(torch.from_numpy(x)).numpy()
    return p, p.argmax(1)


def answer(x):
    p, best = score(x)
    return [{"status": "ok", "class": CLASSES[b], "confidence": float(r[b]), "probabilities": dict(zip(CLASSES, map(float, r)))} for r, b in zip(p, best)]


if os.environ.get("APP") == "tuned":
    @app.post("/predict")
    async def predict(request: Request):
        body = json.loads(await request.body())
        if "rows" in body:
            x = numpy.array([[r["features"][n] for n in NAMES] for r in body["rows"]], numpy.float32)
        else:
            x = numpy.array(body["data"], numpy.float32)
        p, best = score(x)
        return Response(json.dumps({"class": best.tolist(), "probabilities": p.tolist()}), media_type="application/json")
else:
    @app.post("/predict")
    async def predict(body: Body):
        rows = [[r.features[n] for n in NAMES] for r in body.rows] if body.rows is not None else body.data
        return JSONResponse({"predictions": answer(numpy.array(rows, numpy.float32))})
