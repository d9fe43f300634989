"""A hub of our own on this machine: the few endpoints that huggingface_hub uses to make, read and fill a repository."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

TOKEN = "hf_secret_of_the_test"


@dataclass
class Repo:
    """A model repository.

    Attributes:
        private: its visibility.
        files: content by path.
        commits: what was sent as the header of each commit, oldest first.
    """

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors lfs\n"})
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    """What the server holds and does.

    Attributes:
        endpoint: its address.
        repos: by ``OWNER/NAME``.
        fails: what it answers instead: (status, error code, message) by the kind of request.
        requests: method and path of everything that was asked.
        blobs: large files by their SHA-256, sent before the commit.
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    fails: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)


KINDS = {
    "create": ("POST", r"/api/repos/create"),
    "validate": ("POST", r"/api/validate-yaml"),
    "info": ("GET", r"/api/models/([^/]+/[^/]+)"),
    "preupload": ("POST", r"/api/models/([^/]+/[^/]+)/preupload/main"),
    "commit": ("POST", r"/api/models/([^/]+/[^/]+)/commit/main"),
    "batch": ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    "blob": ("PUT", r"/lfs/([0-9a-f]{64})"),
}


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that listens on loopback until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self) -> None:
            path = urlparse(self.path).path
            hub.requests.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for kind, (method, pattern) in KINDS.items():
                found = re.fullmatch(pattern, path)
                if method == self.command and found:
                    if kind in hub.fails:
                        return self.refuse(*hub.fails[kind])
                    if kind != "blob" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        return self.refuse(401, "", "Invalid credentials in Authorization header")
                    getattr(self, kind)(body, *found.groups())
                    return None
            return self.refuse(404, "", f"no such endpoint: {self.command} {path}")

        do_GET = do_POST = do_PUT = answer

        def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            for key, text in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(key, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status: int, code: str, message: str) -> None:
            self.send({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

        def create(self, body: bytes) -> None:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in hub.repos:
                return self.refuse(409, "", "You already created this model repo")
            private = asked["visibility"] == "private" if "visibility" in asked else asked["private"]
            hub.repos[repo] = Repo(private)
            self.send({"url": f"{hub.endpoint}/{repo}"})

        def validate(self, body: bytes) -> None:
            self.send({"errors": [], "warnings": []})

        def info(self, body: bytes, repo: str) -> None:
            if repo not in hub.repos:
                return self.refuse(404, "RepoNotFound", "Repository not found")
            there = hub.repos[repo]
            files = [{"rfilename": name} for name in there.files]
            self.send({"id": repo, "sha": there.sha, "private": there.private, "siblings": files, "tags": []})

        def preupload(self, body: bytes, repo: str) -> None:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.send({"files": files})

        def batch(self, body: bytes, repo: str) -> None:
            objects = [
                {**asked, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            self.send({"transfer": "basic", "objects": objects})

        def blob(self, body: bytes, oid: str) -> None:
            assert hashlib.sha256(body).hexdigest() == oid
            hub.blobs[oid] = body
            self.send({})

        def commit(self, body: bytes, repo: str) -> None:
            there = hub.repos[repo]
            lines = [json.loads(line) for line in body.decode().splitlines()]
            header = lines[0]["value"]
            if header.get("parentCommit") not in (None, there.sha):
                return self.refuse(412, "", "A commit has happened since")
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "deletedFile":
                    del there.files[value["path"]]
                elif line["key"] == "lfsFile":
                    there.files[value["path"]] = hub.blobs[value["oid"]]
                else:
                    there.files[value["path"]] = base64.b64decode(value["content"])
            there.commits.append(header)
            url = f"{hub.endpoint}/{repo}/commit/{there.sha}"
            self.send({"success": True, "commitOid": there.sha, "commitUrl": url})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
