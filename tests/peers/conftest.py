"""The peers, where they are installed."""

from types import ModuleType

import pytest
from spikingjelly_cases import Peer, imported

from snntrain.lava_exchange import lava_shim


@pytest.fixture(scope="module")
def slayer() -> ModuleType:
    try:
        return lava_shim.slayer()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def peer() -> Peer:
    return Peer(*imported("neuron", "surrogate"))
