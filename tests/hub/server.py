"""A Hub on the loopback interface, for the real `huggingface_hub` client: repositories, branches, commits, LFS, ranges.

It holds everything in memory, serves 127.0.0.1 only, refuses bodies above 64 MiB, and stops by itself after two
minutes. `Hub.fail(...)` makes the next matching requests fail: with a status, or with the connection cut at half.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY = 64 * 2**20
LIFETIME_SECONDS = 120
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
TOKEN = "hf_ThisIsTheTokenOfTheTests0123456789"


@dataclass
class Repo:
    """Commits by their id; a commit is its files, path to content."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        parent = self.branches.get(branch, "")
        tree = sorted((path, hashlib.sha256(content).hexdigest()) for path, content in files.items())
        oid = hashlib.sha1(repr((parent, len(self.commits), tree)).encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def find(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Fault:
    """What the next `times` requests get whose "METHOD /path" matches; `status` None cuts the connection at half."""

    pattern: str
    status: int | None
    times: int
    effect: Callable[[], None] | None = None
    applies: bool = False  # the request is carried out, and its answer is lost


class Hub(ThreadingHTTPServer):
    """The server and its state; every request ends up in `log` as "METHOD /path status"."""

    daemon_threads = True
    # A cut connection is what a test asked for: no traceback for it.
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.storage = f"http://localhost:{self.server_port}"  # to the client another host, as the real Hub's is
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.lock = threading.RLock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def fail(
        self,
        pattern: str,
        status: int | None,
        times: int = 1,
        effect: Callable[[], None] | None = None,
        applies: bool = False,
    ) -> None:
        self.faults.append(Fault(pattern, status, times, effect, applies))

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repos[repo]
        return found.commits[found.branches[revision]]

    def add(self, repo: str, files: dict[str, bytes], private: bool = False, branch: str = "main") -> str:
        """Puts files into a repository, as somebody else's commit."""
        with self.lock:
            found = self.repos.setdefault(repo, Repo(private))
            old = found.commits[found.branches[branch]] if branch in found.branches else {}
            return found.commit(branch, {**old, **files})

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.log)


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub; it is gone at the end of the block, or after two minutes."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    timer = threading.Timer(LIFETIME_SECONDS, hub.shutdown)
    timer.daemon = True
    thread.start()
    timer.start()
    try:
        yield hub
    finally:
        timer.cancel()
        hub.shutdown()
        hub.server_close()
        thread.join(timeout=5)


class _Refusal(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Cut(Exception):
    """The connection is closed where it stands."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20  # of an idle connection
    disable_nagle_algorithm = True  # head and body are two packets
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Nothing on stderr."""

    def _serve(self) -> None:
        self.url = urlsplit(self.path)
        self.fault = self._next_fault()
        body = b""
        try:
            body = self._read_body()
            if self.fault and self.fault.effect:
                self.fault.effect()
            if self.fault and self.fault.status is not None and not self.fault.applies:
                raise _Refusal(self.fault.status, message=f"the test asked for {self.fault.status}")
            with self.server.lock:
                self._authorise()
                for method, pattern, action in _ROUTES:
                    match = re.fullmatch(pattern, unquote(self.url.path))
                    if match and self.command in method:
                        action(self, body, **match.groupdict())
                        return
            raise _Refusal(404, message=f"no such address: {self.path}")
        except _Refusal as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            if refusal.status == 429:
                headers["Retry-After"] = "0"
            if refusal.message:
                headers["X-Error-Message"] = refusal.message
            self._send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)
        except _Cut:
            self._note("cut")
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _next_fault(self) -> Fault | None:
        with self.server.lock:
            for fault in self.server.faults:
                if fault.times and re.search(fault.pattern, f"{self.command} {unquote(self.path)}"):
                    fault.times -= 1
                    return fault
        return None

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        length = int(self.headers.get("Content-Length", 0))
        if length > MAX_BODY:
            raise _Refusal(413)
        if self._cuts() and length:
            self.rfile.read(length // 2)
            raise _Cut
        return self.rfile.read(length)

    def _cuts(self) -> bool:
        return self.fault is not None and self.fault.status is None and not self.fault.applies

    def _authorise(self) -> None:
        given = self.headers.get("Authorization")
        if given is not None and "lfs-storage" in self.path:
            raise _Refusal(400, message="a token was sent to the storage, whose addresses are signed")
        if given is not None and given != f"Bearer {TOKEN}":
            raise _Refusal(401, message="Invalid credentials in Authorization header")
        match = re.match(rf"/(?:api/models/)?{REPO}", unquote(self.url.path))
        repo = self.server.repos.get(match["repo"].removesuffix(".git")) if match else None
        writes = self.command in ("POST", "PUT", "DELETE") and "lfs-storage" not in self.path
        if given is None and (writes or (repo is not None and repo.private)):
            raise _Refusal(401, "RepoNotFound" if repo else "", "Invalid username or password.")

    def _note(self, status: object) -> None:
        self.server.log.append(f"{self.command} {unquote(self.path)} {status}")

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if self.fault is not None and self.fault.applies:
            raise _Cut
        self._note(status)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self._cuts():
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            raise _Cut
        self.wfile.write(body)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _found(self, repo: str, revision: str) -> tuple[Repo, str]:
        found = self.server.repos.get(repo)
        if found is None:
            raise _Refusal(404, "RepoNotFound", "Repository not found")
        oid = found.find(revision)
        if oid is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found, oid

    def _is_lfs(self, path: str) -> bool:
        return path.endswith((".safetensors", ".bin", ".png"))

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
        if self._is_lfs(path):
            entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
        return entry

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization'] or 'tester'}/{asked['name']}"
        if repo in self.server.repos:
            url = f"{self.server.endpoint}/{repo}"
            self._json({"error": "You already created this model repo", "url": url}, 409)
            return
        self.server.repos[repo] = Repo(private=asked.get("visibility") == "private")
        self.server.repos[repo].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json({"url": f"{self.server.endpoint}/{repo}", "name": repo})

    def delete(self, body: bytes) -> None:
        asked = json.loads(body)
        if self.server.repos.pop(f"{asked['organization']}/{asked['name']}", None) is None:
            raise _Refusal(404, "RepoNotFound", "Repository not found")
        self._json({})

    def whoami(self, body: bytes) -> None:
        if self.headers.get("Authorization") is None:
            raise _Refusal(401)
        self._json({"type": "user", "name": "tester"})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        found, oid = self._found(repo, revision or "main")
        siblings = [{"rfilename": path} for path in sorted(found.commits[oid])]
        self._json({"id": repo, "sha": oid, "private": found.private, "tags": [], "siblings": siblings})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        found, oid = self._found(repo, revision)
        assert parse_qs(self.url.query)["recursive"] == ["true"], self.path
        self._json([self._entry(path, content) for path, content in sorted(found.commits[oid].items())])

    def refs(self, body: bytes, repo: str) -> None:
        found, _ = self._found(repo, "main")
        branches = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": oid} for b, oid in found.branches.items()]
        self._json({"branches": branches, "tags": [], "converts": []})

    def branch(self, body: bytes, repo: str, branch: str) -> None:
        found, oid = self._found(repo, json.loads(body or b"{}").get("startingPoint", "main"))
        if branch in found.branches:
            raise _Refusal(409, message="Reference already exists")
        found.branches[branch] = oid
        self._json({})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        found, oid = self._found(repo, revision)
        files = []
        for asked in json.loads(body)["files"]:
            lfs, old = self._is_lfs(asked["path"]), found.commits[oid].get(asked["path"])
            known = None if old is None else _sha256(old) if lfs else _git_hash(old)
            files.append(
                {
                    "path": asked["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": False,
                    "oid": known,
                }
            )
        self._json({"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        self._found(repo, "main")
        objects = []
        for asked in json.loads(body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server.lfs:
                entry["actions"] = {
                    "upload": {"href": f"{self.server.storage}/lfs-storage/{asked['oid']}"},
                    "verify": {"href": f"{self.server.endpoint}/lfs-verify"},
                }
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        if _sha256(body) != oid:
            raise _Refusal(400, message="content does not match its oid")
        self.server.lfs[oid] = body
        self._send(200)

    def verify(self, body: bytes) -> None:
        asked = json.loads(body)
        if len(self.server.lfs.get(asked["oid"], b"")) != asked["size"]:
            raise _Refusal(404, message="object does not exist")
        self._json({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        found, oid = self._found(repo, revision)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", oid) != oid:
            raise _Refusal(412, message="A commit has happened since. Please refresh and try again.")
        files = dict(found.commits[oid])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.server.lfs:
                    raise _Refusal(400, message="LFS pointer points to a file that does not exist")
                files[value["path"]] = self.server.lfs[value["oid"]]
            elif operation["key"] == "deletedFile" and files.pop(value["path"], None) is None:
                raise _Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
        new = found.commit(revision, files)
        url = f"{self.server.endpoint}/{repo}/commit/{new}"
        self._json({"success": True, "commitOid": new, "commitUrl": url, "hookOutput": ""})

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        found, oid = self._found(repo, revision)
        if path not in found.commits[oid]:
            raise _Refusal(404, "EntryNotFound", "Entry not found")
        content = found.commits[oid][path]
        headers = {"X-Repo-Commit": oid}
        if not self._is_lfs(path):
            self._content(content, {**headers, "ETag": f'"{_git_hash(content)}"'})
            return
        self.server.lfs.setdefault(_sha256(content), content)
        headers["X-Linked-Etag"], headers["X-Linked-Size"] = f'"{_sha256(content)}"', str(len(content))
        location = f"{self.server.storage}/lfs-storage/{_sha256(content)}"
        self._send(302, b"", {**headers, "Location": location})

    def stored(self, body: bytes, oid: str) -> None:
        if oid not in self.server.lfs:
            raise _Refusal(404)
        self._content(self.server.lfs[oid], {"ETag": f'"{oid}"'})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, content, {**headers, "Accept-Ranges": "bytes"})
            return
        start = int(asked[1])
        if start >= len(content):
            raise _Refusal(416)
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {**headers, "Content-Range": span})

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
        self._json({"errors": errors, "warnings": []})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_API = rf"/api/models/{REPO}"
_ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("POST",), "/api/repos/create", _Handler.create),
    (("DELETE",), "/api/repos/delete", _Handler.delete),
    (("POST",), "/api/validate-yaml", _Handler.validate_yaml),
    (("GET",), "/api/whoami-v2", _Handler.whoami),
    (("GET",), rf"{_API}/refs", _Handler.refs),
    (("GET",), rf"{_API}/revision/(?P<revision>.+)", _Handler.info),
    (("GET",), rf"{_API}/tree/(?P<revision>[^/]+)", _Handler.tree),
    (("POST",), rf"{_API}/branch/(?P<branch>.+)", _Handler.branch),
    (("POST",), rf"{_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    (("POST",), rf"{_API}/commit/(?P<revision>.+)", _Handler.commit),
    (("GET",), _API, _Handler.info),
    (("POST",), rf"/{REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    (("PUT",), r"/lfs-storage/(?P<oid>[0-9a-f]{64})", _Handler.store),
    (("GET", "HEAD"), r"/lfs-storage/(?P<oid>[0-9a-f]{64})", _Handler.stored),
    (("POST",), "/lfs-verify", _Handler.verify),
    (("GET", "HEAD"), rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
