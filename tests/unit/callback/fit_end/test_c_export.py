"""CExport: refusals before training, the program beside the net, and a machine without a compiler."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_fit_end import check_before_training, handed_over, run
from small_training import small_task

from snntrain.callback.fit_end import CExport, Trained
from snntrain.error import UsageError
from snntrain.export.c import native_compiler
from snntrain.export.c.exported import ExportedC
from snntrain.functional import repeat
from snntrain.quantize import IntegerNet, observe, prepare, preset, to_integer

SMALL = ["callbacks=[default,qat,c]", "model=mlp", "model.features=8", "T=2"]
FILES = {"net.c", "net.h", "main.c", "Makefile", "CMakeLists.txt", "arduino", "zephyr", "c.json"}
compiled = pytest.mark.skipif(native_compiler() is None, reason="no C compiler is installed")


def in_integers(folder: Path) -> Trained:
    """A small net that qat would hand on."""
    trained = handed_over(folder, small_task().net)
    x, *_ = trained.data.splits["train"].__getitems__(range(64))
    net = prepare(trained.net, preset("int8"), repeat(x, 3))
    observe(net, [repeat(x, 3)], 1)
    return replace(trained, net=net.eval())


@pytest.mark.parametrize(
    "overrides, text",
    [
        (["callbacks.c.verify_samples=0"], "verify_samples must be an integer ≥ 1"),
        (["callbacks.c.required=maybe"], "required must be"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_training(overrides, text):
    with pytest.raises(UsageError, match=text):
        check_before_training(*SMALL, *overrides)


def test_a_net_of_floats_is_refused_before_training():
    with pytest.raises(UsageError, match=r"callbacks\.c: it writes integers.*callbacks=\[default,qat,c\]"):
        check_before_training("callbacks=[default,c]", *SMALL[1:])


def test_a_required_compiler_that_is_not_there_is_refused_before_training(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    check_before_training(*SMALL)
    with pytest.raises(UsageError, match=r"callbacks\.c: there is no C compiler here.*apt install gcc"):
        check_before_training(*SMALL, "callbacks.c.required=true")


@compiled
def test_the_program_computes_what_the_net_computes(tmp_path):
    trained = in_integers(tmp_path)
    net, metrics = run(CExport(verify_samples=24), trained)
    assert net is trained.net and metrics["mismatches"] == 0
    assert {"acc", "mismatches", "flash_bytes", "ram_bytes"} <= set(metrics)
    x, label, _ = trained.data.splits["test"].__getitems__(range(24))
    right = (to_integer(net).predict(x, 3).argmax(1) == label).double().mean().item()
    assert metrics["acc"] == right
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["samples"] == 24 and written["compared"]["spikes"] == written["compared"]["potentials"] > 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    # All that is static is in the report, and the object holds little else.
    assert written["buffer_bytes"] <= metrics["ram_bytes"] <= written["buffer_bytes"] + 256
    assert written["constant_bytes"] < metrics["flash_bytes"]


@compiled
def test_a_compiler_for_chips_without_a_library_does_not_lose_the_comparison(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "arm-none-eabi-gcc"
    fake.write_text("#!/bin/sh\necho 'stdint.h: No such file' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    (tmp_path / "c").mkdir()
    _, metrics = run(CExport(verify_samples=8), in_integers(tmp_path / "c"))
    assert metrics["mismatches"] == 0 and not any(name.startswith("cortex") for name in metrics)
    written = json.loads((tmp_path / "c" / "c.json").read_text())
    assert written["not_measured"] == {"Cortex-M4": "arm-none-eabi-gcc ended with code 1: stdint.h: No such file"}
    assert list(written["sizes"]) == ["this machine"]


@compiled
def test_a_compiler_that_measures_nothing_does_not_lose_the_comparison_either(tmp_path, monkeypatch):
    """The machine's own, which fails where it compiles for size."""
    own = tmp_path / "cc"
    own.write_text('#!/bin/sh\ncase " $* " in *" -Os "*) echo "no room" >&2; exit 1;; esac\nexec cc "$@"\n')
    own.chmod(0o755)
    monkeypatch.setenv("CC", str(own))
    (tmp_path / "c").mkdir()
    _, metrics = run(CExport(verify_samples=8), in_integers(tmp_path / "c"))
    assert metrics["mismatches"] == 0 and "flash_bytes" not in metrics
    written = json.loads((tmp_path / "c" / "c.json").read_text())
    assert written["not_measured"]["this machine"] == f"{own} ended with code 1: no room"


@compiled
def test_a_mismatch_is_an_error_after_its_files_were_written(tmp_path, monkeypatch):
    honest = ExportedC.run

    def wrong(self, command, x_seq):
        found = honest(self, command, x_seq)
        found.potentials[0] = found.potentials[0] + 1
        return found

    monkeypatch.setattr(ExportedC, "run", wrong)
    with pytest.raises(RuntimeError, match=r"c: the compiled program differs.* potentials.*net is not affected"):
        run(CExport(), in_integers(tmp_path))
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["mismatches"] == written["compared"]["potentials"]
    assert written["differing"]["spikes"] == 0


def test_without_a_compiler_the_files_are_written_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    _, metrics = run(CExport(), in_integers(tmp_path))
    assert metrics == {}
    assert "no C compiler" in json.loads((tmp_path / "c.json").read_text())["skipped"]
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_compiler_that_fails_loses_nothing_of_the_net(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "false")
    trained = in_integers(tmp_path)
    before = to_integer(trained.net)
    with pytest.raises(ValueError, match="false ended with code 1"):
        run(CExport(), trained)
    after: IntegerNet = to_integer(trained.net)
    assert all((after.arrays[name] == array).all() for name, array in before.arrays.items())
