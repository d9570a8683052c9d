"""Every seeded fault is found and named, and what has none has no findings."""

import re

import faulty_data
import pytest
import torch
from faulty_nets import FAULTS, TARGETS, clean, samples
from programs import ROOT
from torch import nn

from snntrain.audit import CHECKS, Finding, audit
from snntrain.audit.data import read_samples


def found_in(net: nn.Module, **more: object) -> list[Finding]:
    return audit(net, samples(), trained=True, **more)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_of_a_net_is_found_and_named(fault):
    net, check, layer, severity = FAULTS[fault]
    found = found_in(net, target=TARGETS.get(fault))
    assert (check, layer, severity) in [(one.check, one.layer, one.severity) for one in found], found
    assert all(one.evidence and one.remedy and one.source for one in found)


@pytest.mark.parametrize("fault", faulty_data.FAULTS)
def test_a_seeded_fault_of_data_is_found_and_named(fault):
    look, *named = faulty_data.FAULTS[fault]
    assert [[one.check, one.layer, one.severity] for one in look()] == [named]


def test_a_clean_net_has_no_findings():
    assert found_in(clean()) == []


@pytest.mark.parametrize("case", faulty_data.CLEAN)
def test_clean_data_have_no_findings(case):
    assert faulty_data.CLEAN[case]() == []


def test_every_check_has_a_name_of_its_own_and_a_seeded_fault():
    names = [one.name for one in CHECKS]
    assert len(set(names)) == len(names) >= 20
    seeded = {check for _, check, *_ in (*FAULTS.values(), *faulty_data.FAULTS.values())}
    # Only another number of threads, a GPU, or a large trained net shows these; others are tested by themselves.
    assert set(names) - seeded == {"threads", "devices", "dead neurons"}
    assert all(one.purpose.endswith(".") and one.remedy.endswith(".") and one.source for one in CHECKS)


def test_the_page_lists_every_check():
    page = (ROOT / "docs" / "auditing.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([a-z ]+) \| (error|warning|info)", page, re.M)
    assert listed == [(one.name, one.severity) for one in CHECKS]


def test_only_as_many_samples_are_read_as_asked_for():
    read = read_samples(faulty_data.pictures(50, 1), most=20)
    assert (read.looked_at, read.size, sum(map(len, read.hashes.values()))) == (20, 50, 20)
    assert read.of_how_many == " (20 of 50 were looked at)"


def test_moments_are_those_of_torch():
    drawn = torch.randn(40, 2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    read = read_samples([(x, 0) for x in drawn])
    assert torch.allclose(read.mean, drawn.double().mean((0, 1, 3, 4)))
    assert torch.allclose(read.std, drawn.double().movedim(2, 0).flatten(1).std(1, correction=0))
