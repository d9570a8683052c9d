"""Downloads from a server in this process: what arrives, what is asked for, what stays after a failure."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from snntrain.ann2snn import download_url

CONTENT = bytes(i * 7 % 251 for i in range(300_000))


class Server(http.server.ThreadingHTTPServer):
    knows_ranges = True
    breaks_after: int | None = None  # bytes of the body
    length_told = len(CONTENT)
    asked: list


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if self.path != "/file":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if asked and server.knows_ranges else 200)
        if asked and server.knows_ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{server.length_told}")
        self.send_header("Content-Length", str(server.length_told - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body if server.breaks_after is None else body[: server.breaks_after])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: Server, path: str = "/file") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


@pytest.mark.parametrize("have", [0, 1, 123_456, 299_999, 300_000])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_what_is_missing_is_fetched(server, tmp_path, have, knows_ranges):
    server.knows_ranges = knows_ranges
    path = tmp_path / "file"
    if have:
        path.write_bytes(CONTENT[:have])
    assert download_url(address(server), path) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-" if have else None]


def test_a_broken_connection_keeps_what_has_arrived_and_the_next_call_goes_on(server, tmp_path):
    path = tmp_path / "file"
    server.breaks_after = 100_000
    with pytest.raises(OSError, match=rf"{address(server)}.*100,000 bytes are kept in .*again"):
        download_url(address(server), str(path))
    assert path.read_bytes() == CONTENT[:100_000]
    server.breaks_after = None
    assert download_url(address(server), path) == len(CONTENT)
    assert path.read_bytes() == CONTENT and server.asked[-1] == "bytes=100000-"


def test_network_errors_are_one_sentence_and_keep_the_part(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:10])
    with pytest.raises(OSError, match="404"):
        download_url(address(server, "/other"), path)
    url = address(server)
    server.server_close()  # nobody listens any more
    with pytest.raises(OSError, match=r"download_url: the download of http.*failed .*10 bytes are kept"):
        download_url(url, path)
    assert path.read_bytes() == CONTENT[:10]


def test_sizes_that_do_not_agree_are_an_error(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(OSError, match=r"300,004 bytes, but .* has 300,000.*Delete"):
        download_url(address(server), path)
    assert path.read_bytes() == CONTENT + b"more"


def test_only_the_web_is_read(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"secret")
    with pytest.raises(ValueError, match="http or https"):
        download_url(source.as_uri(), tmp_path / "file")
