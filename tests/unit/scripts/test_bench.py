"""The benchmark scripts at sizes where they say nothing about speed."""

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
WITH_SPIKINGJELLY = any(d.name == "spikingjelly" for d in metadata.distributions())


def start(script: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    environment = os.environ | {"COLUMNS": "180"}
    command = [sys.executable, str(SCRIPTS / script), "--threads", "1", "--output", "out", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def results(process: subprocess.Popen, folder: Path, name: str) -> dict[str, Any]:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert (folder / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "out" / f"{name}.json").read_text(encoding="utf-8"))


SMALL = ("--channels", "2", "--T", "2", "--batch", "4", "--steps", "2", "--rounds", "2")


@pytest.mark.slow
def test_the_scripts_measure_and_write_what_they_measured(tmp_path):
    """Side by side, since most of the time is the start of Python and torch."""
    train = start("bench_train.py", *SMALL, "--over-T", "1,2,3", "--no-memory", cwd=tmp_path)
    neuron = start("bench_neuron.py", "--neurons", "IF,GatedLIF", "--shapes", "3x2x40", "--rounds", "2", cwd=tmp_path)
    prefix = start("bench_static_prefix.py", "--models", "csnn", "--batch", "2", "--rounds", "2", cwd=tmp_path)
    data = start("bench_data.py", "--count", "60", "--T", "3", "--rounds", "2", cwd=tmp_path)
    delay = start("bench_delay.py", "--shape", "5,2,8,6", "--max", "3", "--rounds", "2", cwd=tmp_path)
    _check_training(results(train, tmp_path, "train"))
    _check_neurons(results(neuron, tmp_path, "neuron"))
    _, errors = prefix.communicate(timeout=240)
    assert prefix.returncode == 0, errors
    _, errors = data.communicate(timeout=240)
    assert data.returncode == 0, errors
    loading = json.loads((tmp_path / "out/data.json").read_text(encoding="utf-8"))
    assert loading["samples"] == 40 and all(value > 0 for value in loading["ratios"].values())
    assert loading["cache"]["ratio"] > 1 and 0.9 < loading["cache"]["predicted"] / loading["cache"]["found"] < 1.1
    _, errors = delay.communicate(timeout=240)
    assert delay.returncode == 0, errors
    rows = json.loads((tmp_path / "out/delay.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 4 and all(row["ratios"].keys() == {"axonal", "synaptic"} for row in rows)
    stages = json.loads((tmp_path / "out/static_prefix.json").read_text(encoding="utf-8"))["models"]["csnn"]
    assert all(stages[stage]["faster"] > 0 for stage in ("training step", "evaluation"))


def _check_training(found: dict[str, Any]) -> None:
    bare = found["variants"]["bare"]
    assert len(bare["seconds_per_step"]) == len(found["variants"]["framework"]["seconds_per_step"]) == 2
    speed = bare["images_per_second"]
    assert 0 < speed["min"] <= speed["median"] <= speed["max"]
    assert found["framework_overhead"] > -1 and found["fused_to_unfused"] > 0 and found["fast_to_exact"] > 0
    assert sum(found["shares"]["bare"].values()) == pytest.approx(1)
    assert found["shares"]["bare"]["neuron"] > 0 and found["shares"]["bare"]["optimizer"] > 0
    assert list(found["over_T"]["seconds_per_step"]) == ["1", "2", "3"]
    assert found["over_T"]["fit"]["r_squared"] <= 1
    assert found["settings"]["T"] == 2 and found["run"]["threads"] == 1 and found["run"]["versions"]["torch"]
    if WITH_SPIKINGJELLY:
        assert found["variants"]["spikingjelly"]["times_as_fast"] == 1
        assert found["largest_difference"] < 1e-5  # otherwise two different networks were compared


def _check_neurons(found: dict[str, Any]) -> None:
    simple, gated = found["rows"]
    assert "fused" in gated["unavailable"] and "torch" in gated["contenders"]
    assert len(simple["contenders"]["x*1"]["training_seconds"]) == 2
    assert simple["contenders"]["x*1"]["kept_bytes"] == 0  # a factor that is a number needs nothing saved
    assert simple["contenders"]["torch"]["kept_share"] > 1
    assert simple["figures"]["training_to_floor"]["limit"] == 2.5
    if WITH_SPIKINGJELLY:
        assert simple["equal_outputs"] == 1


@pytest.mark.slow
def test_the_phases_of_a_run_add_up_to_the_whole(tmp_path):
    process = start("bench_startup.py", "--rounds", "1", cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = json.loads((tmp_path / "out/startup.json").read_text(encoding="utf-8"))
    phases, sums = found["phases"], found["sums"]
    assert len(phases) == 11 and all(value >= 0 for value in phases.values())
    assert sum(phases.values()) == pytest.approx(sums["whole run"], abs=0.02)
    without = sums["first batch, without the import of Lightning"]
    assert without + phases["lightning"] == pytest.approx(sums["first batch"], abs=0.02)
    assert all(value > 0 for value in found["others"].values())


@pytest.mark.slow
def test_the_look_for_numbers_that_are_not_finite_is_timed_beside_steps_without_it(tmp_path):
    process = start("bench_finite.py", "--steps", "30", cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    nets = json.loads((tmp_path / "out/finite.json").read_text(encoding="utf-8"))["nets"]
    assert len(nets) == 3 and all(0 < net["look_ms"] < net["without_ms"] for net in nets.values())


@pytest.mark.slow
def test_statistics_are_compared_on_the_same_weights(tmp_path):
    process = start("bench_running_statistics.py", "--samples", "100", "--epochs", "2", cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    (size,) = json.loads((tmp_path / "out/running_statistics.json").read_text(encoding="utf-8"))["sizes"]
    assert size["accuracy"]["batches"] == size["accuracy"]["whole"]  # two batches are all there is
    assert 0 < size["share_of_time"] < 1


@pytest.mark.slow
def test_a_recorded_net_stands_beside_ridge_regression_of_the_same_rows(tmp_path):
    process = start("bench_tasks.py", "--only", "diabetes_mlp", cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = json.loads((tmp_path / "out/tasks.json").read_text(encoding="utf-8"))["experiments"]["diabetes_mlp"]
    recorded = json.loads((SCRIPTS.parent / "experiments/diabetes_mlp/expected.json").read_text(encoding="utf-8"))
    seeds = recorded["seeds"].values()
    assert found["spiking"]["values"] == [seed["metrics"]["test/r2"] for seed in seeds] and len(seeds) == 3
    beside = found["baseline"]
    assert len(beside["folds"]) == 5 and 0 < beside["fold_std"] < 0.2 and 0.4 < beside["values"][0] < 0.6


@pytest.mark.slow
def test_recurrent_nets_stand_beside_their_products_and_fire_alike(tmp_path):
    process = start("bench_recurrent.py", "--cases", "30x16x200x64,30x16x200x64x5", "--rounds", "2", cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    hidden, whole = json.loads((tmp_path / "out/recurrent.json").read_text(encoding="utf-8"))["rows"]
    for row in (hidden, whole):
        assert row["firing"]["fused"] == row["firing"]["torch"] and 0.05 < row["firing"]["fused"] < 0.1
        assert all(len(values) == 2 for values in row["seconds"].values()) and row["to_products"]["fused"] > 1
        assert row["memory_bytes"]["fused"] > 0
    assert (hidden["targets"]["to_products"]["limit"], whole["targets"]["to_products"]["limit"]) == (1.3, 1.5)


@pytest.mark.slow
def test_sparse_products_stand_beside_dense_ones(tmp_path):
    process = start(
        "bench_products.py", "--shapes", "300x40x70", "--densities", "0.05,0.5", "--rounds", "2", cwd=tmp_path
    )
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    rows = json.loads((tmp_path / "out/products.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["what"], row["density"]) for row in rows] == [
        (what, density) for what in ("300x40x70", "event net", "recurrent net") for density in (0.05, 0.5)
    ]
    parts = [row[part] for row in rows for part in ("forward", "backward", "step") if part in row]
    assert len(parts) == 8 and all(part["times_as_fast"] > 0 for part in parts)


@pytest.mark.slow
def test_nets_in_c_are_measured_at_the_rates_that_were_asked_for(tmp_path):
    process = start("bench_c.py", "--nets", "csnn16,mlp", "--rates", "5,30", "--rounds", "1", cwd=tmp_path)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = json.loads((tmp_path / "out/c.json").read_text(encoding="utf-8"))
    assert set(found["sizes"]) == set(found["latency"]) == {"csnn16", "mlp"}
    for by_bits in found["sizes"].values():
        eight, four = (next(iter(by_bits[bits].values())) for bits in ("W8V8", "W4V8"))
        assert eight["flash_bytes"] > 1.5 * four["flash_bytes"]
        assert eight["ram_bytes"] == pytest.approx(four["ram_bytes"], rel=0.05)
    for net in found["latency"].values():
        assert 0.02 < net["rates"]["5 %"] < 0.08 and 0.2 < net["rates"]["30 %"] < 0.4
        assert all(value > 0 for value in net["milliseconds"].values())
        assert {"C, dense", "torch, ANN, int8", "torch, ANN, float32"} < set(net["milliseconds"])


def test_times_cross_between_two_rates_that_were_measured():
    import bench_c

    times = {"C, event-driven, 1 %": 2.0, "C, event-driven, 10 %": 4.0, "C, event-driven, 30 %": 8.0, "other": 5.0}
    found = {"rates": {"1 %": 0.01, "10 %": 0.1, "30 %": 0.3}, "milliseconds": times}
    assert bench_c.crossing(found, "other") == "up to 15.0 %"
    times["other"] = 1.0
    assert bench_c.crossing(found, "other") == "not at 1.0 %"
    times["other"] = 9.0
    assert bench_c.crossing(found, "other") == "up to 30.0 % at least"


@pytest.mark.slow
def test_peak_memory_is_what_training_adds(tmp_path):
    found = results(start("bench_train.py", *SMALL, "--variants", "bare,framework", cwd=tmp_path), tmp_path, "train")
    for variant in found["variants"].values():
        memory = variant["peak_memory"]
        assert memory["bytes"] == memory["peak_bytes"] - memory["before_bytes"] > 0


@pytest.mark.slow
def test_the_first_call_of_a_second_process_finds_the_kernels_compiled(tmp_path):
    arguments = ("--neurons", "IF", "--shapes", "2x2x8", "--rounds", "1", "--cold")
    found = results(start("bench_neuron.py", *arguments, cwd=tmp_path), tmp_path, "neuron")
    (row,) = found["cold"]
    assert row["warm"]["value"] < row["cold"]["value"]
    assert row["imports_compile"] is False


def test_wrong_arguments_are_refused_with_the_reason(tmp_path):
    import bench_neuron
    import benchmark

    (tmp_path / "file").touch()
    for read, text, reason in (
        (bench_neuron.neurons, "LIFNod", "Did you mean LIFNode"),
        (bench_neuron.shapes, "4x64", "TxNxFEATURES"),
        (bench_neuron.shapes, "4x0x64", "≥ 1"),
        (benchmark.positives, "2,2", "twice"),
        (benchmark.output_folder, str(tmp_path / "file"), "not a folder"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=reason):
            read(text)


def test_a_ratio_compares_values_of_the_same_round():
    import benchmark

    assert benchmark.ratio([2.0, 40.0, 6.0], [1.0, 20.0, 3.0]) == 2.0


def test_measurements_take_turns_after_a_warm_up_that_does_not_count():
    import benchmark

    order = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    seconds = benchmark.interleaved({name: lambda name=name: measure(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert seconds == {"a": [4.0, 9.0, 11.0], "b": [5.0, 7.0, 12.0], "c": [6.0, 8.0, 10.0]}


def test_results_name_the_command_the_machine_and_the_versions(tmp_path, monkeypatch):
    import benchmark

    monkeypatch.setattr(sys, "argv", ["scripts/bench_any.py", "--rounds", "3"])
    options = benchmark.parser("What is measured.\n\nexample", rounds=5).parse_args(["--rounds", "3"])
    options.output = tmp_path / "new"
    benchmark.finish(options, "any", benchmark.describe_run(threads=2), {"nets": {"csnn": 1.5}})
    found = json.loads((tmp_path / "new" / "any.json").read_text(encoding="utf-8"))
    assert found["run"]["command"] == "python scripts/bench_any.py --rounds 3"
    assert found["run"]["cores"] == os.cpu_count() and found["run"]["versions"]["torch"] == metadata.version("torch")
    assert found["settings"] == {"rounds": 3, "threads": 2} and found["nets"] == {"csnn": 1.5}
