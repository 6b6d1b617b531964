"""A hub on this machine: the few answers of the Hugging Face hub that fetching asks for."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class FakeHub:
    """Repositories in memory, and a list of what was asked.

    Attributes:
        asked: Method and path of every request.
        cut: Names of files whose connection breaks halfway.
    """

    def __init__(self):
        self.repositories = {}
        self.asked = []
        self.cut = set()

    def add(self, kind, name, files):
        """Add a repository ("model" or "dataset") and return its commit."""
        total = hashlib.sha1()
        for path in sorted(files):
            total.update(path.encode() + files[path])
        self.repositories[f"{kind}s", name] = (total.hexdigest(), files)
        return total.hexdigest()

    def find(self, path):
        """Return the repository that a path begins with: kind, commit, files and what follows."""
        kind, rest = ("datasets", path[10:]) if path.startswith("/datasets/") else ("models", path)
        if path.startswith("/api/"):
            kind, _, rest = path[5:].partition("/")
        for (each, name), (commit, files) in self.repositories.items():
            if each == kind and rest.lstrip("/").startswith(f"{name}/"):
                return commit, files, rest.lstrip("/")[len(name) + 1 :]
        return None


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, code, headers, body=b""):
            self.send_response(code)
            for key, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path))
            found = hub.find(path)
            if found is None:
                self.answer(404, {"X-Error-Code": "RepoNotFound"})
                return
            commit, files, rest = found
            what, _, rest = rest.partition("/")
            revision, _, name = rest.partition("/")
            if revision not in ("main", commit):
                self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            elif what == "revision":
                self.json({"id": "x", "sha": commit, "siblings": [{"rfilename": f} for f in files]})
            elif what == "tree":
                self.json([self.entry(path, content) for path, content in files.items()])
            elif name in files:
                self.file(commit, name, files[name])
            else:
                self.answer(404, {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET

        def json(self, tree):
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(tree).encode())

        def entry(self, path, content):
            oid = hashlib.sha1(content).hexdigest()
            return {"type": "file", "path": path, "size": len(content), "oid": oid}

        def file(self, commit, name, content):
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            headers = {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            if name in hub.cut and self.command == "GET":
                self.send_response(200)
                for key, value in {**headers, "Content-Length": len(content)}.items():
                    self.send_header(key, str(value))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            start = 0
            if asked := self.headers.get("Range"):
                start = int(asked.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206 if start else 200, headers, content[start:])

    return Handler


@contextmanager
def serving(hub):
    """Serve a hub for a while and yield its address, for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
