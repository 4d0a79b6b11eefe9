"""The yardstick server: the same uvicorn and Starlette, doing only what cannot be left out.

`python yardstick.py PORT DIRECTORY`: `POST /spool` writes the body to a file and syncs it, `GET /static` answers with a
fixed JSON object, `GET /file` streams `DIRECTORY/file`, `GET /health` answers 200.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

WRITE_BYTES = 2**20
OBJECT = {
    "id": "msgbatch_01",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "ended_at": "2026-01-01T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": "http://127.0.0.1/v1/messages/batches/msgbatch_01/results",
}


def application(directory: Path) -> Starlette:
    """Build the application."""

    async def spool(request: HTTPRequest) -> Response:
        descriptor, name = await asyncio.to_thread(tempfile.mkstemp, dir=directory)
        gathered: list[bytes] = []
        waiting = 0
        async for piece in request.stream():
            gathered.append(piece)
            waiting += len(piece)
            if waiting >= WRITE_BYTES:
                await asyncio.to_thread(_write, descriptor, gathered)
                gathered, waiting = [], 0
        await asyncio.to_thread(_write, descriptor, gathered)
        await asyncio.to_thread(_finish, descriptor, name)
        return JSONResponse(OBJECT)

    async def static(_: HTTPRequest) -> Response:
        return JSONResponse(OBJECT)

    async def file(_: HTTPRequest) -> Response:
        return FileResponse(directory / "file", media_type="application/x-jsonl")

    return Starlette(
        routes=[
            Route("/spool", spool, methods=["POST"]),
            Route("/static", static),
            Route("/health", static),
            Route("/file", file),
        ]
    )


def _write(descriptor: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        os.write(descriptor, piece)


def _finish(descriptor: int, name: str) -> None:
    os.fsync(descriptor)
    os.close(descriptor)
    Path(name).unlink()


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[2])), port=int(sys.argv[1]), log_level="warning", access_log=False)
