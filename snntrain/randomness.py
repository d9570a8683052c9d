"""Seeds derived from (seed, what it is for): the same in every process, on every resume."""

import hashlib
import operator

import torch


def derived_seed(seed: int, *keys: int | str) -> int:
    """A 63-bit seed that depends on seed and keys alone, e.g. (seed, "order", epoch)."""
    # NumPy's numbers and strings print differently from Python's, a float would only look like an epoch.
    plain = (str(key) if isinstance(key, str) else int(operator.index(key)) for key in keys)
    digest = hashlib.sha256(repr((int(seed), *plain)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU generator seeded with derived_seed(seed, *keys)."""
    return torch.Generator().manual_seed(derived_seed(seed, *keys))
