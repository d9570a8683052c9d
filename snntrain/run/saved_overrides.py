"""Continue a run with the overrides that it was started with, without typing them again."""

import re
from collections.abc import Sequence
from pathlib import Path

from snntrain.config.overrides import key_of
from snntrain.error import UsageError
from snntrain.run.folder import RunFolder

# Of an earlier command line: where it ran, and what it continued.
_OF_THAT_COMMAND = re.compile(r"(resume|paths\.run|hydra)(\.|$)")
_CODE = re.compile(r"_target_|^\+*(plugins|trust)=")


def with_saved_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides of a command line and, with resume=FOLDER, those of the run in that folder which it does not give.

    Raises: UsageError for a saved override that names code to run, unless trust=true stands on the command line.
    """
    given = {key_of(override): override for override in overrides}
    folder = RunFolder(Path(given.get("resume", "").partition("=")[2].strip("'\"")))
    if "resume" not in given or not folder.overrides.is_file():
        return list(overrides)
    saved = [
        override
        for override in folder.read(RunFolder.overrides)
        if key_of(override) not in given and not _OF_THAT_COMMAND.match(key_of(override))
    ]
    code = [override for override in saved if _CODE.search(override)]
    if code and "trust=true" not in overrides:
        raise UsageError(
            f"resume: the run in {folder} was started with {', '.join(code)}, which runs code. Give it again, or add "
            "trust=true if you trust the folder."
        )
    return [*saved, *overrides]
