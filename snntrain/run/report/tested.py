"""The base of the sections that show the arrays of the test, artifacts/test.npz."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from snntrain.number_format import step_name
from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles
from snntrain.run.report.section import Section

ROWS_SHOWN = 200
"""Of longer tables the page has the first rows."""

_OTHER_TASKS = ("Regression", "MultiLabel", "SequencePrediction", "Forecast")


class OfTheTest(Section):
    """A section that is there if the test wrote an array, or if the run's task would have written it.

    Attributes:
        array: its name.
        tasks: classes of tasks that write it; () for every class that is not known to write something else.
    """

    array: str
    tasks: tuple[str, ...] = ()

    def is_shown(self, run: RunFiles) -> bool:
        if found := set(run.read_or(RunFolder.test, {})) - {"classes", "dt"}:
            return self.array in found
        task = run.read_or(RunFolder.config, {}).get("task")
        name = str(task.get("_target_")).rpartition(".")[2] if isinstance(task, dict) else ""
        return name in self.tasks if self.tasks else name not in _OTHER_TASKS


def numbers(arrays: Mapping[str, np.ndarray], name: str, *shape: int | str) -> np.ndarray:
    """An array of numbers.

    Args:
        shape: a size, or a letter for any size, of each dim.

    Raises: ValueError for one that is missing, of another shape or no array of numbers.
    """
    if name not in arrays:
        raise ValueError(f"test.npz holds no {name}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        isinstance(size, str) or found == size for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iuf" or not array.size:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} must be numbers [{wanted}], got {array.dtype} {list(array.shape)}")
    return array


@dataclass(frozen=True)
class Units:
    """The units in which a data set gives its values, where the net learns standardized ones.

    Attributes:
        mean, std: of each value, [D]; 0 and 1 if the values are as the data set gives them.
        are_others: whether the net learns standardized values.
    """

    mean: np.ndarray
    std: np.ndarray
    are_others: bool

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], count: int) -> Self:
        """Those that the test wrote, of the first values."""
        if "value_mean" not in arrays:
            return cls(np.zeros(count), np.ones(count), are_others=False)
        mean, std = (numbers(arrays, name, "D")[:count] for name in ("value_mean", "value_std"))
        return cls(mean, std, are_others=True)

    def values(self, standardized: np.ndarray) -> np.ndarray:
        """Values [*, D] in these units."""
        return standardized * self.std + self.mean


def step_name_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The label of a time axis; it names the length of a step in ms if the data have one."""
    return step_name(float(numbers(arrays, "dt")) if "dt" in arrays else None)


def class_names(arrays: Mapping[str, np.ndarray], count: int) -> list[str]:
    """Names of the classes, labels or values, their indices where there are no names."""
    names = [str(name) for name in arrays.get("classes", [])]
    return names + [str(index) for index in range(len(names), count)]
