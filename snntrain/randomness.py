"""Seeds derived from (seed, what it is for): the same in every process, on every resume."""

import contextlib
import hashlib
import operator
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

_WORD = 2**64


def derived_seed(seed: int, *keys: int | str) -> int:
    """A 63-bit seed that depends on seed and keys alone, e.g. (seed, "order", epoch)."""
    # NumPy's numbers and strings print differently from Python's, a float would only look like an epoch.
    plain = (str(key) if isinstance(key, str) else int(operator.index(key)) for key in keys)
    digest = hashlib.sha256(repr((int(seed), *plain)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU generator seeded with derived_seed(seed, *keys)."""
    return torch.Generator().manual_seed(derived_seed(seed, *keys))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and random inside the block; they go on afterwards as if it never was.

    For code of others that draws from them, such as transforms.

    Args:
        seed: any integer.
        device: a GPU whose generator is seeded as well; torch's CPU generator always is.
    """
    seed = operator.index(seed) % _WORD
    gpu = device if device is not None and device.type == "cuda" else None
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    cuda = None if gpu is None else torch.cuda.get_rng_state(gpu)
    try:
        random.seed(seed)
        np.random.seed([seed % 2**32, seed // 2**32, 1])  # the 1: NumPy would draw the numbers that Python draws
        torch.default_generator.manual_seed(seed)  # of the CPU alone: torch.manual_seed would reseed every GPU
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.default_generator.set_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, gpu)


def uniform_steps(
    seeds: Sequence[int], T: int, shape: Sequence[int], device: torch.device | str | None = None
) -> Iterator[Tensor]:
    """T tensors of random numbers, each a function of its sample's seed, its step and its position: nothing else.

    Whatever the batch, the number of steps that follow, and the device, a sample gets the same numbers. They are hashed
    and not drawn, for all samples at once: a generator per sample would be slow, and a GPU's draws others than a CPU's.

        key = mix(mix(seed) + (t + 1)·γ);  two numbers from the halves of  mix(key + (1 + position // 2)·γ)

    Args:
        seeds: one integer per sample, N of them.
        T: number of steps.
        shape: of one sample at one step.

    Returns: tensors [N, *shape], float32, multiples of 2^-24 in [0, 1).
    Source: Steele, Lea & Flood, OOPSLA 2014 (SplitMix, γ); its mix with the constants of Stafford's variant 13.
    """
    size = torch.Size(shape).numel()
    samples = _mix(torch.tensor([_signed(seed) for seed in seeds], dtype=torch.int64, device=device))
    counters = torch.arange(1, (size + 1) // 2 + 1, device=device) * _GAMMA
    for t in range(T):
        keys = _mix(samples + _signed((t + 1) * _GAMMA))
        words = _mix(keys.unsqueeze(1) + counters)
        halves = words.view(-1).view(torch.int32).view(len(words), 2 * len(counters))[:, :size]
        yield ((halves >> 8).float() * 2**-24 + 0.5).view(len(words), *shape)


def _mix(z: Tensor) -> Tensor:
    """A permutation of the 64-bit words, in place, in which each bit hangs on every other. Products wrap around."""
    for shift, factor in ((30, _FACTORS[0]), (27, _FACTORS[1]), (31, 1)):
        # torch shifts the sign along: the mask makes it the shift of an unsigned word.
        z ^= (z >> shift) & (2 ** (64 - shift) - 1)
        if factor != 1:
            z *= factor
    return z


def _signed(word: int) -> int:
    """The word's 64 bits as torch writes them: int64."""
    return (word + _WORD // 2) % _WORD - _WORD // 2


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FACTORS = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
