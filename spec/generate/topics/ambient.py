"""Modes of a framework that must change nothing (R-2.8).

`autocast`: automatic casting to bfloat16.  `tf32`: matrix products may round their factors.  `x64`:
64-bit types switched to the other state.  `default_dtype`: the dtype of new arrays set to another
one.
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, ambient
from .common import config, scaled

MODES = {
    "autocast": ("M50", "within automatic casting to bfloat16"),
    "tf32": ("M49 M50", "with matrix products that round their factors"),
    "x64": ("M50", "with 64-bit types switched the other way"),
    "default_dtype": ("M50", "with another default dtype"),
}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yarn = scaled("yarn", factor=4.0, original_max_position=64)
    axes: dict[str, Any] = {"axes": ["t", "h", "w"], "sections": [2, 1, 1]}
    for mode, (flags, comment) in MODES.items():
        for label, made, call, rule in (
            ("d64_pos4097", config("half_split", 64, 1e4), {"x": [1, 1, 2, 64], "positions": [257, 4097]}, "R-10.5"),
            (
                "yarn_far",
                config("interleaved", scaling=yarn),
                {"x": [1, 2, 2, 8], "positions": [131071, 2049]},
                "R-5.7",
            ),
            ("offset", config(), {"x": [2, 1, 2, 8], "offset": [2047, 65535]}, "R-7.4"),
            ("axes", config(**axes), {"x": [1, 2, 2, 8], "positions": [[65537, 2], [65536, 300], [65793, 7]]}, "R-6.1"),
        ):
            yield ambient(f"ambient/{mode}/{label}", made, (f"R-2.8 {rule}", flags, comment), mode, **call)
