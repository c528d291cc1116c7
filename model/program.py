"""How our programs end: with their work done, or with one line that says why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import getdoc
from typing import TypeVar

import tyro

from datagen.shards import ShardError
from model.perceptual import PerceptualError

ConfigT = TypeVar("ConfigT")


def program(config: type[ConfigT], run: Callable[[ConfigT], None], prog: str) -> int:
    """Parse a command line, and run.

    Args:
        config: the dataclass of the settings; its docstring is the help text.
        run: what the program does. What a person got wrong it raises as ShardError,
            PerceptualError, ValueError, OSError or ImportError.
        prog: what a person types, for the help text.

    Returns:
        the exit status: 0; 1 after an error, told in a line; 130 after Ctrl-C.
    """
    try:
        run(tyro.cli(config, prog=prog, description=getdoc(config)))
    except (ShardError, PerceptualError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
