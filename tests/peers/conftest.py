"""The peers, where they are installed."""

import importlib.metadata
from types import ModuleType

import pytest
from spikingjelly_cases import VERSION, Peer

from snntrain.lava_exchange import lava_shim


@pytest.fixture(scope="module")
def slayer() -> ModuleType:
    try:
        return lava_shim.slayer()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def peer() -> Peer:
    # Imported here and not above: collecting the tests must not cost the time of its import.
    try:
        found = importlib.metadata.version("spikingjelly")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        pytest.skip(f"compared with spikingjelly=={VERSION}, found {found}")
    reason = f"spikingjelly {VERSION} cannot be imported"
    modules = [f"spikingjelly.activation_based.{name}" for name in ("neuron", "surrogate")]
    return Peer(*(pytest.importorskip(module, reason=reason, exc_type=ImportError) for module in modules))
