"""Lightning callbacks: what happens around a batch, an epoch, a fit.

They may import the library, data and task, nothing of config or run.
"""

from typing import TYPE_CHECKING

from snntrain.callback import fit_end
from snntrain.callback.advice import Advice
from snntrain.callback.delay_annealing import DelayAnnealing
from snntrain.callback.ema import EMAWeightAveraging
from snntrain.callback.energy import EnergyModels
from snntrain.callback.finite import Finite
from snntrain.callback.fit_end import FitEnd
from snntrain.callback.history import History
from snntrain.callback.neurobench import NeuroBench
from snntrain.callback.own_handlers import OwnHandlers
from snntrain.callback.progress import Progress
from snntrain.callback.pruning import Pruned, Pruning
from snntrain.callback.resetting import Resetting
from snntrain.callback.resume_point import ResumePoint
from snntrain.callback.ridge import RidgeReadout
from snntrain.callback.running_statistics import RunningStatistics
from snntrain.callback.seeding import Seeding
from snntrain.callback.spike_statistics import SpikeStatistics
from snntrain.callback.synaptic_operations import SynapticOperations
from snntrain.callback.throughput import Throughput

if TYPE_CHECKING:
    from snntrain.callback.fit_end import (
        AnnToSnn,
        Audit,
        CExport,
        LavaExport,
        NirExport,
        OnnxExport,
        QuantizationAware,
    )

__all__ = [
    "Advice",
    "AnnToSnn",
    "Audit",
    "CExport",
    "DelayAnnealing",
    "EMAWeightAveraging",
    "EnergyModels",
    "Finite",
    "FitEnd",
    "History",
    "LavaExport",
    "NeuroBench",
    "NirExport",
    "OnnxExport",
    "OwnHandlers",
    "Progress",
    "Pruned",
    "Pruning",
    "QuantizationAware",
    "Resetting",
    "ResumePoint",
    "RidgeReadout",
    "RunningStatistics",
    "Seeding",
    "SpikeStatistics",
    "SynapticOperations",
    "Throughput",
]


def __getattr__(name: str) -> object:
    """A fit-end callback, which that package imports on first use."""
    if name in __all__:
        return getattr(fit_end, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
