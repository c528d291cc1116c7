"""Compiling kernels and sharing out their work.

Numba caches what it compiles, and compiles a kernel again when its own file, or a type that it is
given, changes; never when another file does. So a kernel calls kernels and reads constants of its
own file alone, and what it shares with others it is given, as an argument or in a type.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit

PARTS = 8  # of the work, for each thread

compiled = njit(nogil=True, cache=True, error_model="numpy")


def in_threads(kernel: Callable[..., None], items: int, *arguments: Any) -> None:
    """Run a kernel over all items, on as many threads as torch uses, some parts to each of them.

    Threads of our own rather than numba's: kernels compile in half the time, a thread that is done
    early takes another part, and no second OpenMP spins beside torch's.

    Args:
        kernel: called with a first item, a last + 1 and the arguments.
        items: how many there are.
        arguments: all that the kernel reads and fills in.
    """
    threads = torch.get_num_threads()
    edges = np.linspace(0, items, PARTS * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: kernel(*part, *arguments), pairwise(edges)))
