"""The comparison of libraries: its protocol, its check of equality, its page, and snntrain as one of the contenders."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from libraries import page, report, run, set_up
from libraries.cases import CASES, Arrays, Case, after_spikes, conv, linear
from libraries.contenders import CONTENDERS, ours
from libraries.contenders.torch_contender import feeds_neurons
from libraries.equations import HARD, LATE, SOFT, Form, agreement, currents, spikes
from libraries.processes import ContenderError, Process
from programs import ROOT

FAKE = Path(__file__).with_name("fake_contenders.py")
TINY = Case("tiny", "tiny", 12, 3, (5,), (linear(5, 4, 2.0), "neuron"), calls=2)


@pytest.fixture
def started():
    processes: dict[str, Process] = {}

    def start(name: str) -> Process:
        processes[name] = Process([sys.executable, str(FAKE), name], {})
        return processes[name]

    yield start
    for process in processes.values():
        process.close()


# --- protocol --------------------------------------------------------------------------------------------------------


def test_contenders_take_turns_and_are_held_to_their_own_equations(started):
    """Of three fakes, one computes what it says, one says so and does not, and one says what it does instead."""
    processes = {name: started(name) for name in ("same", "other", "stated")}
    described = {name: process.ask("describe") for name, process in processes.items()}
    assert described["same"]["versions"]["numpy"] == np.__version__
    assert set(described["same"]["refusals"]) == set(CASES)
    result = run.measure(TINY, processes, described, rounds=3)
    rows = result["rows"]
    assert result["left_out"] == {} and list(rows) == list(processes)
    for row in rows.values():
        assert {part: len(values) for part, values in row["seconds"].items()} == dict.fromkeys(row["seconds"], 3)
        together = [a + b for a, b in zip(row["seconds"]["forward"], row["seconds"]["backward"], strict=True)]
        assert row["seconds"]["both"] == pytest.approx(together)
    found = {name: row["spikes"] for name, row in rows.items()}
    assert found["same"] | {"firing": 0} == {"own": 1.0, "same": True, "common": 1.0, "firing": 0, "differences": []}
    assert not found["other"]["same"] and found["other"]["own"] < 0.999 and found["other"]["differences"] == []
    assert found["stated"]["same"] and found["stated"]["common"] == found["other"]["own"]
    assert 0.05 < found["same"]["firing"] < 0.6


def test_a_contender_that_fails_is_left_out_with_its_reason(started):
    processes = {name: started(name) for name in ("same", "broken")}
    described = {name: process.ask("describe") for name, process in processes.items()}
    result = run.measure(TINY, processes, described, rounds=1)
    assert list(result["rows"]) == ["same"] and result["left_out"] == {"broken": "ValueError: no such kernel"}


def test_a_process_that_ends_is_an_error_with_its_last_words(started):
    with pytest.raises(ContenderError, match="ended with 1: the library took the process with it"):
        started("dies").ask("describe")


def test_a_library_that_was_not_set_up_says_what_to_do(tmp_path):
    (tmp_path / "set_up.json").write_text(json.dumps({"spyx": {"reason": "ERROR: no wheel"}}))
    processes, described = run.begin(["spyx", "lava"], tmp_path, threads=1)
    assert processes == {}
    assert described["spyx"] == {"missing": "not installed: ERROR: no wheel"}
    assert described["lava"] == {"missing": f"{tmp_path} has no environment lava: run set_up.py"}
    assert run.why_missing("lava", None, {}) == "needs --venvs, the folder that set_up.py filled"


def test_a_run_that_is_stopped_keeps_the_cases_that_are_measured(tmp_path, monkeypatch):
    def measure(case, processes, described, rounds):
        if case.name == "csnn":
            raise KeyboardInterrupt
        return {"rows": {}, "left_out": {}}

    monkeypatch.setattr(run, "begin", lambda names, venvs, threads: ({}, {}))
    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # this process goes on with other tests
    monkeypatch.setattr(sys, "argv", ["run.py", "--page", str(tmp_path / "page.md"), "--output", str(tmp_path)])
    run.main()  # the page is not there: it would fail to write it
    assert list(json.loads((tmp_path / "libraries.json").read_text(encoding="utf-8"))["cases"]) == [
        *("linear512", "linear2048", "lif64")
    ]
    assert (tmp_path / "libraries.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("more", [["--quick"], ["--cases", "lif64"], ["--contenders", "snntrain"]])
def test_a_page_of_a_part_is_refused(more, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--page", "page.md", *more])
    with pytest.raises(SystemExit):
        run.read_options()
    assert "--page: the page shows everything" in capsys.readouterr().err


def test_slow_contenders_are_timed_in_every_third_round_and_compared_within_it():
    class Timed:
        def __init__(self, *seconds: float) -> None:
            self.seconds = list(seconds)

        def ask(self, do: str, rounds: int) -> dict[str, list[float]]:
            return {"forward": [self.seconds.pop(0)], "backward": [0.0]}

    rows = run.interleaved({"snntrain": Timed(1, 2, 2, 3), "slow": Timed(5.0, 12.0)}, 4, {})
    assert rows["slow"]["rounds"] == [0, 3] and rows["snntrain"]["rounds"] == [0, 1, 2, 3]
    assert report.to_ours(rows, "slow") == 4.5  # of 5 and 4
    assert report.to_ours({"slow": rows["slow"]}, "slow") is None


def test_what_does_not_install_is_told_with_pips_own_words(tmp_path, monkeypatch):
    def fails(*command: str) -> str:
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: old pip\nERROR: No matching distribution\n")

    monkeypatch.setattr(set_up, "run", fails)
    assert set_up.install(tmp_path, CONTENDERS["spyx"]) == {"reason": "ERROR: No matching distribution"}


def test_an_environment_that_was_there_before_survives_a_pip_that_fails(tmp_path, monkeypatch):
    python = set_up.python_of(tmp_path, "spyx")
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ERROR: no network' >&2\nexit 1\n")
    python.chmod(0o755)
    record = tmp_path / set_up.RECORD
    record.write_text(json.dumps({"spyx": {"versions": {"spyx": "1.0.0"}}}))
    monkeypatch.setattr(sys, "argv", ["set_up.py", str(tmp_path), "spyx"])
    set_up.main()
    assert python.exists() and json.loads(record.read_text()) == {"spyx": {"versions": {"spyx": "1.0.0"}}}


# --- equations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "i", "expected"),
    [
        (Form(HARD), 1.8, [0, 1, 0, 1, 0, 1]),  # h = 0.9, 1.35, 0.9, …
        (Form(SOFT), 1.8, [0, 1, 1, 0, 1, 1]),  # h = 0.9, 1.35, 0.35/2 + 0.9 = 1.075, 0.9375, 1.369, 1.084
        (Form(LATE), 1.5, [0, 1, 0, 0, 1, 0]),  # h = 0.75, 1.125, 1.125/2 + 0.75 − 1 = 0.3125, 0.906, 1.203, 0.352
        (Form(HARD, delay=1), 1.8, [0, 0, 1, 0, 1, 0]),
    ],
)
def test_equations_by_hand(form, i, expected):
    assert spikes(np.full((6, 1), i), form)[:, 0].astype(int).tolist() == expected


def test_a_threshold_that_is_met_exactly_decides_between_the_two():
    current = np.full((2, 1), 2.0)  # h = 1 in the first step
    assert spikes(current, Form())[0, 0] and not spikes(current, Form(strict=True))[0, 0]


def test_two_spikes_in_a_step_are_not_one():
    current = np.full((4, 1), 1.8)
    assert agreement(current, np.array([[0.0], [1], [0], [1]]), Form())["own"] == 1
    found = agreement(current, np.array([[0.0], [2], [0], [1]]), Form())
    assert found["own"] == 0.75 and found["firing"] == 0.5


def test_differences_are_told_in_words():
    assert Form().differences() == []
    told = "; ".join(Form(LATE, delay=1, strict=True, note="counts in integers").differences())
    assert told == (
        "subtracts the threshold one step later, after the decay, instead of a reset to zero; spikes 1 step late; "
        "spikes at h > 1 instead of h ≥ 1; counts in integers"
    )


# --- cases -----------------------------------------------------------------------------------------------------------


def test_arrays_are_the_same_every_time_and_survive_a_file(tmp_path):
    case = Case("net", "net", 4, 2, (1, 8, 8), (*conv(1, 2), "Flatten", linear(128, 3, 0.1)), "picture", 3)
    first, again = Arrays.of(case), Arrays.of(case)
    first.save(tmp_path / "arrays.npz")
    for other in (again, Arrays.load(tmp_path / "arrays.npz")):
        assert np.array_equal(first.x, other.x) and np.array_equal(first.target, other.target) and other.g is None
        assert all(np.array_equal(a, b) for a, b in zip(first.weights, other.weights, strict=True))
    assert first.x.shape == (2, 1, 8, 8) and [w.shape for w in first.weights] == [(2, 1, 3, 3), (3, 128)]


def test_what_feeds_neurons_takes_the_factor_of_libraries_that_do_not_divide_by_tau():
    case = Case("net", "net", 1, 1, (1, 4, 4), (*conv(1, 2), "Flatten", after_spikes(32, 5, 0.1), "neuron"), 0.1)
    named = [layer if isinstance(layer, str) else layer["name"] for layer in case.layers]
    assert named == ["Conv2d", "BatchNorm2d", "neuron", "Flatten", "Linear", "neuron"]
    assert [feeds_neurons(case, i) for i in range(6)] == [False, True, False, False, True, False]


# --- snntrain --------------------------------------------------------------------------------------------------------


def built(case: Case) -> ours.Contender:
    contender = ours.Contender()
    assert contender.refusal(case) is None
    contender.build(case, Arrays.of(case))
    contender.forget()
    contender.forward()
    contender.backward()
    return contender


def test_our_layer_spikes_as_the_equations_say():
    case = Case("small", "small", 20, 3, (16,), (linear(16, 8, 0.4), "neuron"))
    contender = built(case)
    found = agreement(currents(Arrays.of(case)), contender.output(), contender.form)
    assert found["own"] == 1 and found["common"] == 1 and found["firing"] == pytest.approx(contender.rates()[0])
    assert 0.02 < found["firing"] < 0.3
    assert contender.gradient().shape == (8, 16) and np.abs(contender.gradient()).max() > 0


def test_our_lone_neuron_gives_the_gradient_of_its_input():
    case = Case("alone", "alone", 6, 2, (4,), ("neuron",), gain=2.0)
    assert np.abs(built(case).gradient()).max() > 0 and built(case).gradient().shape == (6, 2, 4)


POOL = {"name": "AvgPool2d", "kernel_size": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        (*conv(2, 3), POOL, "Flatten", after_spikes(48, 6, 0.1), "neuron", linear(6, 3, 1)),
        pytest.param(
            ("Flatten", linear(128, 6, 0.5), {"name": "Recurrent", "features": 6}, linear(6, 3, 1)),
            marks=pytest.mark.slow,  # compiling the recurrence
        ),
    ],
    ids=["convolutions", "recurrence"],
)
def test_our_nets_take_the_given_weights_and_train(layers):
    case = Case("net", "net", 3, 4, (2, 8, 8), layers, 0.3, 3)
    contender = built(case)
    given = Arrays.of(case).weights
    held = [p.detach() for p in contender.model.parameters() if p.dim() >= 2]
    assert all(torch.equal(a, torch.from_numpy(b)) for a, b in zip(held, given, strict=True))
    assert contender.output().shape == (3, 4, 3)
    contender.step()
    assert 0 < max(contender.rates()) < 1
    assert not torch.equal(held[0], torch.from_numpy(given[0]))


# --- page ------------------------------------------------------------------------------------------------------------

WRITTEN = ROOT / "benchmarks/libraries.json"


def test_the_page_shows_what_was_measured():
    content = json.loads(WRITTEN.read_text(encoding="utf-8"))
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert f"{page.BEGIN}\n\n{page.measured(content)}\n{page.END}" in text


def test_the_fastest_comes_first_and_everybody_is_named():
    content = json.loads(WRITTEN.read_text(encoding="utf-8"))
    told = page.measured(content)
    for name in CONTENDERS:
        facts = content["contenders"][name]
        assert (f"| {facts['title']} |" if "title" in facts else f"- {name}: {facts['missing']}") in told
    for name, result in content["cases"].items():
        section = told.split(f"### {CASES[name].title}\n")[1].split("###")[0]
        medians = [
            statistics.median(result["rows"][one]["seconds"]["both"])
            for line in section.splitlines()
            for one in result["rows"]
            if line.startswith(f"| {content['contenders'][one]['title']} |")
        ]
        assert medians == sorted(medians) and len(medians) == len(result["rows"])


def test_a_page_without_the_marks_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="must hold the lines"):
        page.update(tmp_path / "page.md", json.loads(WRITTEN.read_text(encoding="utf-8")))
