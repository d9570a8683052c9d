"""A web server of files in this process, which tells what was asked for and breaks off where a test wants it to."""

import http.server
import re


class WebServer(http.server.ThreadingHTTPServer):
    """Serves `files`.

    Attributes:
        address: without a slash at the end.
        files: name → content.
        requests: name and Range header of each request so far.
        limits: how many bytes the next responses send before they hang up.
        knows_ranges: whether it can send parts of files.
        tells_range: whether it says which part of how many bytes it sends.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.limits: list[int] = []
        self.knows_ranges = True
        self.tells_range = True

    def handle_error(self, request: object, client: object) -> None:
        """A client that goes away is part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        server, name, asked = self.server, self.path.lstrip("/"), self.headers.get("Range")
        server.requests.append((name, asked))
        if name not in server.files:
            return self.send_error(404)
        content, start = server.files[name], 0
        is_part = bool(asked) and server.knows_ranges
        if is_part:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
        self.send_response(206 if is_part else 200)
        if is_part and server.tells_range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        limit = server.limits.pop(0) if server.limits else len(content)
        self.wfile.write(content[start : start + limit])

    def log_message(self, *_: object) -> None: ...
