"""Loops compiled by numba. They keep the functions they call in the same file: numba notices no change elsewhere."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled without the interpreter's lock; kept on disk where there is a place to write, else in memory."""
    try:
        return njit(function, nogil=True, cache=True)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(function, nogil=True)
