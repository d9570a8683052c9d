"""Files without labels, which a trained net is to predict."""

import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from snntrain.data.damage import some_of
from snntrain.data.picture import BadPicture
from snntrain.data.split import Split
from snntrain.terminal import terminal


def files_below(folder: Path, endings: Collection[str], kind: str) -> list[Path]:
    """The files of a folder and all folders in it, in the order of their names; hidden ones are ignored.

    Files with another ending are left out, with a warning that names them.

    Args:
        endings: in lower case, such as .png.
        kind: what the files are, such as "pictures".

    Raises: FileNotFoundError if it is not a folder; ValueError if there is nothing in it to read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"data.folder: {folder} is not a folder. Give the one that holds the {kind}.")
    found, others = [], []
    for path in sorted(_walk(folder)):
        (found if path.suffix.lower() in endings else others).append(path)
    if not found:
        instead = f" It holds {some_of(others)}." if others else ""
        raise ValueError(f"data.folder: {folder} holds no {kind} ({', '.join(endings)}).{instead}")
    if others:
        warnings.warn(f"left out, their endings are not those of {kind}: {some_of(others)}", stacklevel=2)
    return found


def no_labels(files: Sequence[object]) -> Tensor:
    """-1 for each file, in the place of a label."""
    return torch.full((len(files),), -1)


def check_each(split: Split) -> None:
    """Read every file of a split, so that those which cannot be used are named before anything is computed.

    Raises: ValueError naming them.
    """
    console, broken = terminal(), []
    places = track(range(len(split)), "reading files", console=console, transient=True, disable=not console.is_terminal)
    for position in places:
        try:
            split[position]
        except BadPicture as error:
            broken.append(f"{error.path} {error.reason}")
        except ValueError as error:
            name, reason = split.where(position), str(error).removeprefix("data: ").rstrip(".")
            broken.append(reason if name in reason else f"{name}: {reason}")
    if broken:
        raise ValueError(
            f"data: {some_of(broken)}. Replace or remove what cannot be used: {len(broken):,} of {len(split):,} files."
        )


def _walk(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(place))  # a link may lead to a folder that it lies in
        folders[:] = [
            name for name in folders if name[0] != "." and os.path.realpath(os.path.join(place, name)) not in seen
        ]
        found += [Path(place, name) for name in names if name[0] != "."]
    return found
