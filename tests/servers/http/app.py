"""What people serve with FastAPI, on uvicorn: at a port, and at a Unix socket if a second argument names one."""

import asyncio
import hashlib
import sys

import uvicorn
from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from starlette.middleware.gzip import GZipMiddleware

READY_AFTER = 3
app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=1)
looks = 0


@app.get("/v2/health/ready")
async def ready():
    """For the process that started it."""
    return {}


@app.get("/loading")
async def loading():
    """Ready at the third look."""
    global looks
    looks += 1
    if looks < READY_AFTER:
        raise HTTPException(503, "loading", headers={"Retry-After": "1"})
    return {"looks": looks}


@app.post("/predict/")
async def predict(document: dict):
    """JSON."""
    return {"y": len(document["x"])}


@app.post("/raw", status_code=201)
async def raw(request: Request):
    """Any bytes."""
    body = await request.body()
    return Response(f"{request.headers['content-type']},{hashlib.sha256(body).hexdigest()}", media_type="text/csv")


@app.post("/upload")
async def upload(file: UploadFile, size: int = Form()):
    """A form."""
    content = await file.read()
    if len(content) != size:
        raise HTTPException(422, f"{file.filename} has {len(content)} bytes")
    return {"name": file.filename}


@app.delete("/item", status_code=204)
async def delete():
    """No content."""


@app.get("/search")
@app.head("/search")
async def search(q: str = "nothing"):
    """A query."""
    return {"found": q}


async def main():
    """Serve until it is ended."""
    places = [{"port": int(sys.argv[1])}, *({"uds": path} for path in sys.argv[2:])]
    servers = [uvicorn.Server(uvicorn.Config(app, log_level="warning", **place)) for place in places]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
