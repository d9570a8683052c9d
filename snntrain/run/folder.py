"""A run folder: where each of its files lies, how it is read and written, and what a damaged one means.

    config.yaml  overrides.yaml  provenance.json  layers.json      written before training starts
    model.nir                                                      likewise, the graph of model=nir
    metrics.csv  checkpoints/                                      written after each epoch
    artifacts/                                                     written by the test and by what follows it
    results.json  report.html                                      written when the run ends
    .owner.json  checksums.json                                    see run/ownership.py and files/checksums.py

Every reader raises a MissingFile for a missing file and a DamagedFile for one that cannot be used, which name it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from snntrain.error import DamagedFile, MissingFile, UsageError
from snntrain.files import checksums, damage, newest_first, read_json, read_text, read_yaml, write_json, write_text
from snntrain.run.contents import (
    BY_SUFFIX,
    parse_arrays,
    parse_energy,
    parse_epochs,
    parse_graph,
    parse_layers,
    parse_neurobench,
    parse_operations,
    parse_overrides,
)
from snntrain.run.ownership import OWNER_NOTE, OwnedFolder
from snntrain.run.results import best_epoch, in_both_forms, monitor_of, parse_results

_CHECKPOINTS, _ARTIFACTS = "checkpoints", "artifacts"


@dataclass(frozen=True)
class RunFile:
    """A file of a run folder. As an attribute of a folder it is that folder's path of the file.

    Args:
        name: its place in the folder.
        written: when a run writes it, as the end of the sentence "it is written …" or the like.
        parse: path → content.
    """

    name: str
    written: str
    parse: Callable[[Path], Any]

    def __get__(self, folder: "RunFolder | None", owner: type | None = None) -> Any:
        return self if folder is None else folder.path / self.name


def artifact(place: str) -> RunFile:
    """The file of a fit-end callback.

    Args:
        place: inside the folder of artifacts, starting with the callback's name: lava/plan.txt.
    """
    return RunFile(
        f"{_ARTIFACTS}/{place}",
        f"{place.partition('/')[0]} writes it after the test",
        BY_SUFFIX[Path(place).suffix],
    )


@dataclass(frozen=True)
class RunFolder(OwnedFolder):
    """The folder of one run.

        run = RunFolder(path)
        run.results                      its path
        run.read(RunFolder.results)      its content
        run.best_epoch()                 the metrics of that epoch

    Args:
        path: of the folder, which need not exist.
    """

    config: ClassVar = RunFile("config.yaml", "it is written before training starts", read_yaml)
    overrides: ClassVar = RunFile("overrides.yaml", "it is written before training starts", parse_overrides)
    provenance: ClassVar = RunFile("provenance.json", "it is written before training starts", read_json)
    layers: ClassVar = RunFile("layers.json", "it is written once the model is built", parse_layers)
    metrics: ClassVar = RunFile("metrics.csv", "it is written after each epoch", parse_epochs)
    results: ClassVar = RunFile("results.json", "it is written when a run ends", parse_results)
    report: ClassVar = RunFile("report.html", "it is written when a run ends", read_text)
    traceback: ClassVar = RunFile("traceback.txt", "it is written when a run fails", read_text)
    graph: ClassVar = RunFile("model.nir", "a run of model=nir copies it before training starts", parse_graph)
    splits: ClassVar = RunFile(f"{_ARTIFACTS}/splits.json", "it is written before training starts", read_json)
    test: ClassVar = RunFile(f"{_ARTIFACTS}/test.npz", "the test writes it", parse_arrays)
    raster: ClassVar = RunFile(f"{_ARTIFACTS}/raster.npz", "the test writes it for one sample", parse_arrays)
    operations: ClassVar = RunFile(f"{_ARTIFACTS}/synaptic_operations.json", "the test writes it", parse_operations)
    neurobench: ClassVar = RunFile(f"{_ARTIFACTS}/neurobench.json", "the test writes it", parse_neurobench)
    energy: ClassVar = RunFile(f"{_ARTIFACTS}/energy.json", "the test writes it", parse_energy)

    USED_ONCE_IT_HOLDS: ClassVar[str] = config.name

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / _CHECKPOINTS

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the best epoch."""
        return self.checkpoints / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """What an interrupted run continues from."""
        return self.checkpoints / "last.ckpt"

    @property
    def artifacts(self) -> Path:
        """The folder of what the test and the fit-end callbacks wrote."""
        return self.path / _ARTIFACTS

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> "RunFolder":
        """The run folder that a checkpoint lies in, if it lies in one."""
        return cls(checkpoint.parent.parent)

    @classmethod
    def below(cls, root: Path) -> "Iterator[RunFolder]":
        """The run folders below a folder, the newest first."""
        return (cls(file.parent) for file in newest_first(root.glob(f"**/{cls.config.name}")))

    @classmethod
    def is_one(cls, names: set[str]) -> bool:
        """Whether a folder with files of these names is that of a run, at whatever moment the run ended."""
        files = {cls.config.name, cls.results.name, cls.overrides.name}
        return not names.isdisjoint(files | {_CHECKPOINTS, OWNER_NOTE})

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, file: RunFile) -> Any:
        """The content of a file, as its parser gives it.

        Raises: MissingFile or DamagedFile naming it.
        """
        path = self.path / file.name
        try:
            with damage(path):
                return file.parse(path)
        except FileNotFoundError as error:
            raise MissingFile(f"{path} is missing. Give a finished run folder, or a recorded experiment.") from error

    def read_config(self) -> dict[str, Any]:
        """The config as the present program would have written it. Records of experiments are read in the same way.

        Raises: as read; UsageError for a config of a newer program.
        """
        from snntrain.config.migration import migrate  # which imports Hydra: seconds, for those who read no config

        return migrate(self.read(RunFolder.config), self.format_number(), str(self.config))

    def format_number(self) -> int:
        """The format of the folder's files; 1 where they do not say.

        Raises: DamagedFile if the provenance cannot be used.
        """
        try:
            written_in = self.read(RunFolder.provenance).get("format", 1)
        except MissingFile:  # programs since format 2 write it before config.yaml
            return 1
        if type(written_in) is not int or written_in < 1:
            raise DamagedFile(
                f"{self.provenance} is damaged: its format must be a whole number ≥ 1, got {written_in!r}."
            )
        return written_in

    def read_or(self, file: RunFile, default: Any) -> Any:
        """The content of a file, or the default where it is missing or damaged."""
        try:
            return self.read(file)
        except UsageError:
            return default

    def outcome(self) -> dict[str, Any]:
        """The content of results.json, {} if the run has not ended. Raises: DamagedFile."""
        try:
            return self.read(RunFolder.results)
        except MissingFile:
            return {}

    def usable_outcome(self) -> dict[str, Any]:
        """The same for callers that are about to write the file again: {} for a damaged one, too."""
        return self.read_or(RunFolder.results, {})

    def status(self) -> str | None:
        """How the run ended; None if it has not. Raises: DamagedFile."""
        return self.outcome().get("status")

    def monitor(self) -> tuple[str, str]:
        """The metric that chooses the best epoch and its direction; the usual one if the config cannot be read."""
        return monitor_of(self.read_or(RunFolder.config, {}))

    def epochs(self) -> list[dict[str, float]]:
        """The metrics of every epoch so far; [] if they cannot be read."""
        return self.read_or(RunFolder.metrics, [])

    def best_epoch(self) -> Mapping[str, float]:
        """The metrics of the best epoch, see snntrain.run.results.best_epoch."""
        return best_epoch(self.epochs(), *self.monitor())

    def test_samples(self) -> int | None:
        """The size of the test set, if the run tested all of it; None if that cannot be read."""
        try:
            limit = self.read(RunFolder.config).get("trainer", {}).get("limit_test_batches")
            count = int(self.read(RunFolder.splits)["test"]["count"])
        except (OSError, UsageError, AttributeError, KeyError, TypeError, ValueError):
            return None
        return count if count > 0 and limit in (None, "") else None

    def kept_checkpoint(self) -> Path | None:
        """The checkpoint to test the run on: that of the best epoch, else the last one."""
        return next((path for path in (self.best_checkpoint, self.last_checkpoint) if path.is_file()), None)

    def verify(self) -> str:
        """Compare the files with their checksums.

        Returns: "", or a remark for the user if the folder is from before there were checksums.
        Raises: DamagedFile naming the first file that is damaged.
        """
        return "" if checksums.verify(self.path) else f"{self.path} is {checksums.UNVERIFIED}"

    # --- writing -----------------------------------------------------------------------------------------------------

    def write_inputs(
        self,
        config: Mapping[str, Any],
        overrides: list[str],
        provenance: Mapping[str, Any],
        splits: Mapping[str, Any],
        layers: list[dict[str, Any]],
    ) -> None:
        """Write what is known before training starts."""
        checksums.begin(self.path)
        write_json(self.provenance, provenance)  # First, because it says in which format the others are.
        write_text(self.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        write_text(self.overrides, yaml.safe_dump(overrides, allow_unicode=True))
        write_json(self.splits, splits)
        write_json(self.layers, layers)

    def write_results(self, status: str, metrics: Mapping[str, float], **more: Any) -> None:
        """Write how the run ended.

        Args:
            status: finished, interrupted, pruned or failed.
            metrics: name → value.
            more: further entries, such as seconds or message.
        """
        write_json(self.results, {"status": status, **in_both_forms(metrics), **more})
