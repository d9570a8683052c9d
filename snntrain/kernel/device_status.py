"""What runs fused on this machine: its devices, and the neurons of a net in a call."""

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from snntrain.kernel.sequence import driver_for, reason_against_device

#: Where calls are noted: module → why its last call was not fused, or None if it was.
_watching: list[dict[Any, str | None]] = []


@dataclass(frozen=True)
class DeviceStatus:
    """One device of this machine.

    Attributes:
        device: "cpu", "cuda:0", …; "cuda" where torch finds no GPU.
        hardware: its name, "" where there is none.
        by: what compiles and launches kernels there; None: nothing can, and neurons run as loops of torch operators.
        reason: why nothing can, and what to do about it; None where something does.
    """

    device: str
    hardware: str
    by: str | None
    reason: str | None


def status() -> list[DeviceStatus]:
    """Every device of this machine: whether neurons run fused on it, and by what."""
    processor = platform.processor() or platform.machine()
    found = [DeviceStatus("cpu", processor, f"numba {metadata.version('numba')}", None)]
    count = torch.cuda.device_count()
    by, reason = gpu_launcher()
    for index in range(count):
        found.append(DeviceStatus(f"cuda:{index}", torch.cuda.get_device_name(index), by, reason))
    if not count:
        found.append(DeviceStatus("cuda", "", None, reason))
    if torch.backends.mps.is_available():
        found.append(DeviceStatus("mps", processor, None, reason_against_device(torch.device("mps"))))
    return found


def gpu_launcher() -> tuple[str | None, str | None]:
    """(what compiles and launches kernels on this machine's GPUs, None), or (None, why nothing can)."""
    if driver_for(torch.device("cuda")) is None:
        return None, reason_against_device(torch.device("cuda"))
    from snntrain.kernel.cuda_launcher import launcher

    return launcher().title, None


@contextlib.contextmanager
def watching_fusion() -> Iterator[dict[Any, str | None]]:
    """Note, of every neuron and recurrent layer called inside, why its last call was not fused, or None if it was.

    A normalization or pooling that ran inside the kernel of the neuron beside it is noted as fused, too.

    Those with backend "torch" ask for no kernel and are not noted.
    """
    calls: dict[Any, str | None] = {}
    _watching.append(calls)
    try:
        yield calls
    finally:
        _watching[:] = [each for each in _watching if each is not calls]  # two that watch may hold equal notes


def note_call(module: Any, reason: str | None) -> None:
    """Tell those who watch that a module decided about a call."""
    for calls in _watching:
        calls[module] = reason
