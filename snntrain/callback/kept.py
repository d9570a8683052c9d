"""Which checkpoints belong to a resumed run, whatever the checkpoint that it resumes from says."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from snntrain.error import DamagedFile
from snntrain.files import replacing

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
_SCORES = ("best_model_score", "current_score", "kth_value")


def own_checkpoints(state: Any, callback: ModelCheckpoint, source: Path) -> dict[str, Any]:
    """The state of a ModelCheckpoint with every path in the folder that this run writes its checkpoints to.

    Lightning deletes the checkpoint that a better one replaces, and a folder with all that is in it: a path that was
    read from a file is never given to it. That of a run folder which was moved, or goes on in another one, becomes the
    path of the same name here.

    Args:
        state: as read from a checkpoint.
        callback: whose dirpath is known.
        source: the checkpoint file.

    Raises: DamagedFile naming a path outside of the run folder, or what else is wrong.
    """
    if not isinstance(state, Mapping):
        raise DamagedFile(
            f"{source} is damaged: the state of ModelCheckpoint is {type(state).__name__}, not a mapping."
        )
    here = Path(callback.dirpath or source.parent).resolve()
    then = state.get("dirpath")

    def own(path: Any) -> str:
        if path in ("", None):
            return ""
        if not isinstance(path, str):
            raise DamagedFile(f"{source} is damaged: the path of a checkpoint is {path!r}.")
        relative = _relative(path, [then if isinstance(then, str) else None, str(here), str(source.parent.resolve())])
        target = None if relative is None else here / relative
        if target is None or not target.resolve().is_relative_to(here) or target.is_symlink():
            raise DamagedFile(
                f"{source} names {path} as a checkpoint of its run, which lies outside of {here}. It was changed, and "
                "going on from it could delete files of yours: take another copy of it."
            )
        if target.suffix != ".ckpt":
            raise DamagedFile(f"{source} names {path} as a checkpoint of its run, which does not end in .ckpt.")
        return str(target)

    found = {key: _score(state.get(key), key, source) for key in _SCORES}
    found |= {key: own(state.get(key, "")) for key in _PATHS}
    kept = state.get("best_k_models", {})
    if not isinstance(kept, Mapping) or (len(kept) > max(callback.save_top_k, 0) and callback.save_top_k != -1):
        raise DamagedFile(
            f"{source} is damaged: best_k_models is no list of at most {callback.save_top_k} checkpoints."
        )
    found["best_k_models"] = {own(path): _score(score, "best_k_models", source) for path, score in kept.items() if path}
    is_full = 0 < len(found["best_k_models"]) == callback.save_top_k
    if found["kth_best_model_path"] not in (*found["best_k_models"], *([] if is_full else [""])):
        raise DamagedFile(f"{source} is damaged: kth_best_model_path is none of best_k_models.")
    return {"monitor": callback.monitor, "dirpath": callback.dirpath, **found}


def _relative(path: str, folders: list[str | None]) -> Path | None:
    """A path below the first of some folders in which it lies by name; None if it lies in none of them."""
    plain = os.path.normpath(path)
    if not os.path.isabs(plain):
        return None
    for folder in folders:
        if folder and os.path.isabs(folder) and Path(plain).is_relative_to(os.path.normpath(folder)):
            return Path(plain).relative_to(os.path.normpath(folder))
    return None


def _score(value: Any, key: str, source: Path) -> Any:
    is_number = type(value) in (int, float) or (isinstance(value, Tensor) and value.dim() == 0)
    if value is not None and not is_number:
        raise DamagedFile(f"{source} is damaged: {key} of ModelCheckpoint is no number.")
    return value


def fetch_kept(state: Mapping[str, Any], source: Path) -> None:
    """Copy the checkpoints that a run still needs from the folder that it resumes from, if that is another one."""
    for path in {state["best_model_path"], *state["best_k_models"]} - {""}:
        beside = source.parent / Path(path).name
        if not os.path.lexists(path) and beside.is_file() and not beside.is_symlink():
            with replacing(Path(path)) as temporary:
                shutil.copyfile(beside, temporary)
