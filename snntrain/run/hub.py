"""Fetch files of the Hugging Face Hub by addresses such as hf://owner/name@revision/folder/file."""

import re
from pathlib import Path

from snntrain.error import UsageError, one_line

_PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[\w./-]+))?")


def is_hub_address(place: str) -> bool:
    """Whether a place is meant as an address of the hub."""
    return place.startswith(_PREFIX)


def fetch(address: str) -> Path:
    """Download a file of the hub, or find it in the hub's own cache.

    Args:
        address: hf://owner/name/file, or hf://owner/name@revision/folder/file.

    Returns: its path in the cache.
    Raises: UsageError for an address of another form, without the package, or where the hub does not answer.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or not parts["file"] or ".." in parts["file"].split("/"):
        raise UsageError(
            f"{address!r} is no address of a file. Write hf://owner/name/file, or hf://owner/name@v1/file."
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError(f"{address} is read by huggingface_hub. Install it: pip install 'snntrain[hub]'.") from error
    try:
        return Path(huggingface_hub.hf_hub_download(parts["repo"], parts["file"], revision=parts["revision"]))
    except Exception as error:  # it raises errors of its own, of its HTTP library, and of the disk
        raise UsageError(
            f"{address} cannot be fetched ({type(error).__name__}: {one_line(error)[:300]}). Check the address and the "
            "network, or bring the folder by hand and give its path."
        ) from error
