"""Downloads from a server in this process: what arrives, what is asked for, what stays after a failure."""

import pytest
from web_server import WebServer

from snntrain.ann2snn import download_url

CONTENT = bytes(i * 7 % 251 for i in range(300_000))


@pytest.fixture
def server(web_server: WebServer) -> WebServer:
    web_server.files["file"] = CONTENT
    return web_server


def address(server: WebServer, path: str = "/file") -> str:
    return f"{server.address}{path}"


@pytest.mark.parametrize("have", [0, 1, 123_456, 299_999, 300_000])
@pytest.mark.parametrize(("knows_ranges", "tells_range"), [(True, True), (True, False), (False, False)])
def test_what_is_missing_is_fetched(server, tmp_path, have, knows_ranges, tells_range):
    server.knows_ranges, server.tells_range = knows_ranges, tells_range
    path = tmp_path / "file"
    if have:
        path.write_bytes(CONTENT[:have])
    assert download_url(address(server), path) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("file", f"bytes={have}-" if have else None)]


def test_a_broken_connection_keeps_what_has_arrived_and_the_next_call_goes_on(server, tmp_path):
    path = tmp_path / "file"
    server.limits = [100_000]
    with pytest.raises(OSError, match=rf"{address(server)}.*100,000 bytes are kept in .*again"):
        download_url(address(server), str(path))
    assert path.read_bytes() == CONTENT[:100_000]
    assert download_url(address(server), path) == len(CONTENT)
    assert path.read_bytes() == CONTENT and server.requests[-1] == ("file", "bytes=100000-")


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
