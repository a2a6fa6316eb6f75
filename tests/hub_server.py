"""A hub on 127.0.0.1: as much of the Hugging Face hub's protocol as ``datasets`` asks for, out of a folder.

``OWNER/NAME`` is a folder of files below ``root``; it has one commit, that of its branch main. Its branch
``refs/convert/parquet`` is the folder ``OWNER/NAME@parquet``. Of ``gated/...`` the terms are not accepted.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONVERTED = {"refs/convert/parquet", "89abcdef0123456789abcdef0123456789abcdef"}  # a branch, and its commit


def _handler(root: Path, log: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *message: Any) -> None:
            pass

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, data: Any, status: int = 200) -> None:
            self.answer(status, json.dumps(data).encode(), {"Content-Type": "application/json"})

        def missing(self, code: str) -> None:
            self.answer(404 if code != "GatedRepo" else 403, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path = urllib.parse.urlsplit(self.path).path
            log.append(f"{self.command} {path}")
            parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
            api = parts[:2] == ["api", "datasets"]
            name = "/".join(parts[2:4]) if api else "/".join(parts[1:3])
            rest = parts[4:] if api else parts[3:]
            folder = root / name
            if name.startswith("gated/"):
                return self.missing("GatedRepo")
            if not folder.is_dir():
                return self.missing("RepoNotFound")
            commit = COMMIT
            if len(rest) > 1 and rest[1] in CONVERTED and (root / f"{name}@parquet").is_dir():
                folder, commit = root / f"{name}@parquet", max(CONVERTED, key=lambda n: "/" not in n)
            elif len(rest) > 1 and rest[1] not in ("main", COMMIT):
                return self.missing("RevisionNotFound")
            if api and (not rest or rest[0] == "revision"):
                files = [{"rfilename": e["path"]} for e in self.entries(folder)]
                flags = dict.fromkeys(("private", "gated", "disabled"), False)
                counts = {"downloads": 0, "likes": 0}
                named = {"_id": name, "id": name, "sha": commit, "tags": [], "siblings": files}
                return self.json(named | flags | counts)
            if api and rest[0] == "tree":
                below = "/".join(rest[2:])
                return self.json([e for e in self.entries(folder) if not below or e["path"].startswith(f"{below}/")])
            if api and rest[0] == "paths-info":
                wanted = urllib.parse.parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
                return self.json([e for e in self.entries(folder) if e["path"] in wanted])
            file = folder / "/".join(rest[2:])
            if not file.is_file():
                return self.missing("EntryNotFound")
            data = file.read_bytes()
            tag = hashlib.sha256(data).hexdigest()
            return self.answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": commit, "Accept-Ranges": "none"})

        do_HEAD = do_POST = do_GET

        def entries(self, folder: Path) -> list[dict[str, Any]]:
            found = sorted(file for file in folder.rglob("*") if file.is_file())
            return [
                {"type": "file", "path": str(f.relative_to(folder)), "size": f.stat().st_size, "oid": "0" * 40}
                for f in found
            ] + [{"type": "directory", "path": str(d.relative_to(folder)), "oid": "1" * 40} for d in folder.rglob("*/") if d.is_dir()]  # fmt: skip # noqa: E501

    return Handler


@contextmanager
def hub_at(root: Path, log: list[str] | None = None) -> Iterator[str]:
    """Serve a folder of repositories; the address is what ``HF_ENDPOINT`` is set to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(root, log if log is not None else []))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
