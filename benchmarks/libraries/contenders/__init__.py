"""The libraries that are compared: what each needs, and which file of this folder drives it.

Nothing but the standard library is imported here: every environment reads this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TORCH = ("torch==2.13.0", "numpy==2.4.6")


@dataclass(frozen=True)
class Entry:
    """One contender.

    Attributes:
        file: in this folder, without .py.
        venv: its environment's name in the folder that set_up.py fills; None: the one that run.py runs in.
        requires: what pip installs there.
        alone: installed after them without dependencies and without heed to the Python that they ask for.
        options: arguments of the file's Contender.
    """

    file: str
    venv: str | None
    requires: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_NORSE = (*TORCH, "norse==1.1.0", "torchaudio==2.11.0", "torchvision==0.28.0")

OURS = "snntrain"
CONTENDERS = {
    OURS: Entry("ours", None),
    "spikingjelly": Entry(
        "spikingjelly", "spikingjelly", (*TORCH, "spikingjelly==2.0.0", "torchvision==0.28.0", "torchaudio==2.11.0")
    ),
    "snntorch": Entry("snntorch", "snntorch", (*TORCH, "snntorch==1.0.0")),
    "norse": Entry("norse", "norse", _NORSE),
    "norse_compiled": Entry("norse", "norse", _NORSE, options={"compiled": True}),
    "sinabs": Entry("sinabs", "sinabs", (*TORCH, "sinabs==3.1.3")),
    "rockpool": Entry("rockpool", "rockpool", (*TORCH, "rockpool==3.1.0")),
    "spyx": Entry("spyx", "spyx", ("spyx==1.0.0", "jax==0.10.2", "flax==0.12.8", "numpy==2.4.6")),
    "lava": Entry(
        "lava",
        "lava",
        (*TORCH, "h5py==3.16.0", "scipy==1.17.1", "networkx", "asteval", "matplotlib"),
        alone=("lava-nc==0.10.0", "lava-dl==0.6.0"),
    ),
}

#: Not a library: what torch needs for the products alone, in the environment of run.py.
FLOOR = "products"
EVERY = {**CONTENDERS, FLOOR: Entry("products", None)}
