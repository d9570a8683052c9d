"""Where frame caches lie."""

from snntrain.data.cache import frames_folder


def test_the_caches_lie_beside_the_data_or_with_the_user_s_or_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.delenv("SNNTRAIN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    data = tmp_path / "data"
    elsewhere = tmp_path / "user" / "snntrain" / "frames"
    assert frames_folder(data) == elsewhere
    data.mkdir()
    assert frames_folder(data) == data / "cache" and not any(data.iterdir())
    data.chmod(0o555)
    assert frames_folder(data) == elsewhere
    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path / "own"))
    assert frames_folder(data) == tmp_path / "own" / "frames"
