"""A W&B server on loopback: as much of it as wandb 0.31 needs to log, resume and sync runs.

What it answers was worked out from what wandb 0.31.0 sends. It keeps what it is sent, and can stop answering.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "0123456789" * 4


@dataclass
class ServedRun:
    """What the server has of a run: as sent, ``history`` by line number."""

    fields: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    sent_points: int = 0
    complete: bool = False


class WandbServer(ThreadingHTTPServer):
    """See the module.

    Args:
        dies_after: the operation after whose answer the server is gone, such as ``UpsertBucket``; None for never.
    """

    daemon_threads = True

    def __init__(self, dies_after: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dies_after = dies_after
        self.dead = False
        self.runs: dict[str, ServedRun] = {}
        self.operations: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def run(self, name: str) -> ServedRun:
        return self.runs.setdefault(name, ServedRun())

    def die(self) -> None:
        """Nothing listens from now on, and open connections are closed after their answer."""
        self.dead = True
        threading.Thread(target=self._close).start()

    def handle_error(self, *_: Any) -> None:
        """A client that was ended closes its connections; that is no error."""

    def _close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or self.server.dead

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        _, _, run, *name = self.path.split("/")
        self.server.run(run).files["/".join(name)] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.server.dead:
            self.close_connection = True
            return
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            self._stream(self.server.run(stream[1]), json.loads(body))
            return
        if self.path != "/graphql":
            self._answer({})
            return
        asked = json.loads(body)
        found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        operation = found[1] if found else ""
        self.server.operations.append(operation)
        authorized = (
            self.headers.get("Authorization") == f"Basic {base64.b64encode(f'api:{KEY}'.encode()).decode()}"
        )
        if operation == self.server.dies_after:
            self.server.die()
        given = asked.get("variables") or {}
        answer: dict[str, Any] = getattr(self, f"_{operation}", lambda _: {})(given.get("input", given))
        self._answer({"data": answer if authorized else {"viewer": None}})

    def _stream(self, run: ServedRun, sent: dict[str, Any]) -> None:
        for name, part in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                for number, line in enumerate(part["content"], start=part["offset"]):
                    run.history[number] = json.loads(line)
                    run.sent_points += 1
            elif name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        run.complete = run.complete or bool(sent.get("complete"))
        self._answer({})

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u1", "entity": "me", "username": "me", "flags": "{}"}}

    def _RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        known = self.server.runs.get(given["name"])
        bucket = known and {
            "id": given["name"],
            "name": given["name"],
            "summaryMetrics": json.dumps(known.summary),
            "displayName": "",
            "logLineCount": 0,
            "historyLineCount": len(known.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(
                [json.dumps(known.history[max(known.history)])] if known.history else []
            ),
            "eventsTail": "[]",
            "config": known.fields.get("config") or "{}",
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "p1", "name": "lab", "entity": {"id": "e1", "name": "me"}, "bucket": bucket}}

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.server.run(given["name"])
        run.fields.update({key: value for key, value in given.items() if value is not None})
        project = {"id": "p1", "name": given["project"], "entity": {"id": "e1", "name": "me"}}
        bucket = {
            "id": given["name"], "name": given["name"], "displayName": "", "description": "",
            "config": run.fields.get("config") or "{}", "sweepName": None, "project": project,
            "historyLineCount": len(run.history),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": not run.history}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """As when the server has these contents already, so that nothing is uploaded."""
        name = given["artifactCollectionName"]
        if given["runName"] is not None:  # an input belongs to no run
            self.server.run(given["runName"]).outputs.append((given["artifactTypeName"], name))
        artifact = {"id": name, "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": name}}}
        return {"createArtifact": {"artifact": artifact}}

    def _UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.server.run(given["runName"]).inputs.append(given["artifactID"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.server.url}/upload/{given['run']}/{name}"}
            for name in given["files"]
        ]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}


@contextmanager
def serving(dies_after: str | None = None) -> Iterator[WandbServer]:
    """A server that listens while the block runs, or until it dies."""
    server = WandbServer(dies_after)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        if not server.dead:
            server.shutdown()
            server.server_close()


def environment(url: str, home: Path) -> dict[str, str]:
    """Variables of a process that is logged in to a server and knows no other."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "HYDRA_"))}
    folders = {f"WANDB_{name}_DIR": str(home) for name in ("CACHE", "CONFIG", "DATA")}
    return {
        **kept, **folders, "WANDB__GRAPHQL_RETRY_WAIT_MIN_SECONDS": "1",
        "HOME": str(home), "WANDB_BASE_URL": url, "WANDB_API_KEY": KEY,
        "WANDB_ERROR_REPORTING": "false", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
