"""The benchmark of conversions: what it measures, what it refuses, what it does about an error of a peer."""

import json
import sys
from importlib import metadata

import pytest
import torch
from torch.nn.functional import cross_entropy

from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.error import UsageError
from snntrain.run.build import build_data, build_task

WITH_SPIKINGJELLY = any(d.name == "spikingjelly" for d in metadata.distributions())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs on the digits: two trained ANNs of different seeds, and an untrained spiking net."""
    root = tmp_path_factory.mktemp("runs")
    settings = {f"relu_{seed}": ("neuron=relu", f"seed={seed}") for seed in (1, 2)} | {"lif": ("neuron=lif",)}
    for name, overrides in settings.items():
        config = check(compose(["model=mlp", "model.features=32", *overrides]))
        task, data = build_task(config), build_data(config)
        if name != "lif":
            train(task, data)
        path = root / name / "checkpoints" / "best.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({"snntrain": {"format": 1, "config": config}, "state_dict": task.state_dict()}, path)
    return root


def train(task, data):
    split = data.splits["train"]
    x, labels, _ = split.__getitems__(range(len(split)))
    optimizer = torch.optim.Adam(task.net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(task(x)[0], labels).backward()
        optimizer.step()


def bench(monkeypatch, *arguments):
    import bench_ann2snn

    monkeypatch.setattr(sys, "argv", ["bench_ann2snn.py", "threads=1", *arguments])
    bench_ann2snn.main()


@pytest.mark.slow
def test_it_measures_every_method_on_every_run(runs, tmp_path, monkeypatch, capsys):
    names = ["max_norm", "channel_mse+bias", "qcfs", *(["sj_max_norm", "sj_ltb"] if WITH_SPIKINGJELLY else [])]
    both = (f"run={runs / name}" for name in ("relu_1", "relu_2"))
    bench(monkeypatch, *both, f"methods={','.join(names)}", "T=1,64", "calibration_images=256", f"output={tmp_path}")
    found = json.loads((tmp_path / "ann2snn.json").read_text(encoding="utf-8"))
    assert (tmp_path / "ann2snn.png").read_bytes().startswith(b"\x89PNG")
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    assert all(run["ann_accuracy"] > 90 for run in found["runs"])
    assert list(found["summary"]) == names
    for name, by_T in found["summary"].items():
        assert abs(by_T["64"]["gap"]) < 3, name
        accuracies = [run["methods"][name]["accuracy"]["64"] for run in found["runs"]]
        assert by_T["64"]["accuracy"] == pytest.approx(sum(accuracies) / 2)
        assert by_T["64"]["accuracy_std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    # One step of thresholds that are maxima hardly lets a neuron fire; those made for one step do.
    assert found["summary"]["max_norm"]["1"]["gap"] > 20 > found["summary"]["channel_mse+bias"]["1"]["gap"]
    table = capsys.readouterr().out
    assert "channel_mse + bias" in table and "±" in table


def test_a_peer_that_fails_is_a_row_and_our_own_error_an_error(runs):
    import bench_ann2snn as bench
    from ann2snn_peers import Contender

    def fail(source, T):
        raise KeyError("no such layer")

    source = bench.load(runs / "relu_1", 8, 8)
    row = bench.measure(Contender("peer", fail, is_peer=True), source, [4], lambda count: None)
    assert row == {"error": "KeyError: 'no such layer'"}
    runs_found = [{"ann_accuracy": 90.0, "test_images": 8, "max_pooling": False, "methods": {"peer": row}}]
    assert bench.summarize(runs_found) == {}
    notes = bench.notes({"peer": Contender("A peer", fail, is_peer=True)}, runs_found, {"calibration_images": 8})
    assert "A peer failed: KeyError: 'no such layer'" in notes
    with pytest.raises(KeyError):
        bench.measure(Contender("ours", fail), source, [4], lambda count: None)


def test_what_depends_on_T_is_made_for_each_T(runs):
    import bench_ann2snn as bench
    from ann2snn_peers import Contender

    made = []

    def convert(source, T):
        made.append(T)
        return lambda x, steps: torch.stack([source.net(x) for _ in steps])

    source = bench.load(runs / "relu_1", 8, 50)
    (ann,) = bench.accuracy(lambda x: source.net(x)[None], source.test)
    for for_each_T, wanted in ((False, [8]), (True, [2, 8])):
        made.clear()
        row = bench.measure(Contender("any", convert, for_each_T), source, [2, 8], lambda count: None)
        assert made == wanted
        assert row["accuracy"] == {2: ann, 8: ann}


def test_a_wrong_command_line_says_what_is_wrong(runs, tmp_path, monkeypatch):
    import ann2snn_peers

    ann = f"run={runs / 'relu_1'}"
    with pytest.raises(SystemExit, match=r"neuron LIFNode.*neuron=relu"):
        bench(monkeypatch, f"run={runs / 'lif'}", f"output={tmp_path}")
    with pytest.raises(SystemExit, match="Did you mean channel_mse"):
        bench(monkeypatch, ann, "methods=chanel_mse", f"output={tmp_path}")
    with pytest.raises(SystemExit, match="does not exist"):
        bench(monkeypatch, f"run={tmp_path}", f"output={tmp_path}")
    monkeypatch.setattr(ann2snn_peers, "version_of", lambda package: "0.0.0.0.14")
    with pytest.raises(UsageError, match=r"sj_ltb cannot be run.*2\.0"):
        ann2snn_peers.chosen_contenders("sj_ltb")
    assert not any(one.is_peer for one in ann2snn_peers.chosen_contenders(None).values())


def test_the_net_that_a_peer_gets_consists_of_torchs_modules_and_is_the_same(runs):
    import ann2snn_peers
    import bench_ann2snn as bench

    source = bench.load(runs / "relu_1", 8, 50)
    x, _ = source.test[0]
    plain = ann2snn_peers.plain(source.net, x[:4])
    assert {type(module).__module__.split(".")[0] for module in plain.modules()} == {"torch"}
    torch.testing.assert_close(plain(x), source.net(x))
    assert any(type(module).__module__.startswith("snntrain") for module in source.net.modules())
