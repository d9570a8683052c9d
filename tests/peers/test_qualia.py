"""Mode 'qualia' beside qualia-plugin-snn 2.6.0, which runs in a process of its own with SpikingJelly 0.0.0.0.14.

Outputs, potentials, hyper-parameters and fractional bits are equal bit for bit, in training and in evaluation.
"""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.optional

GROUPS = [
    *("quantizer, fixed point", "quantizer, free step", "quantizer, learned step", "quantizer, least error"),
    *("quantizer, disabled", "IF", "LIF", "ATIF"),
]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = Path(os.environ.get("SNNTRAIN_QUALIA", "")).expanduser()
    if not (folder / "qualia_plugin_snn").exists():
        pytest.skip("SNNTRAIN_QUALIA names no folder with qualia-plugin-snn: python scripts/compare_qualia.py FOLDER")
    import compare_qualia

    path = tmp_path_factory.mktemp("qualia") / "reference.npz"
    compare_qualia.run_reference(folder, path)
    return compare_qualia.compare(path)


@pytest.mark.parametrize("group", GROUPS)
def test_all_numbers_are_those_of_the_reference(counts, group):
    from compare_qualia import DIFFERENT, WRONG

    count = counts[group]
    assert count["values"] > 0 and count["gradients"] > 0
    assert (count[DIFFERENT], count[WRONG]) == (0, 0), count


def test_every_case_is_compared_but_those_that_crash_in_the_reference(counts):
    assert sorted(counts) == sorted(GROUPS)
    assert {group for group, count in counts.items() if count["crash there"]} == {"LIF"}
    assert (
        counts["LIF"]["crash there"] < counts["LIF"]["cases"] / 4
    )  # 1/tau rounds to 0 in 2 and 4 bits, or with force_q 0
