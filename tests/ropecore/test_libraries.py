"""Caches and builders take the arrays of every library and give them back, with the numbers that
NumPy's have.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ropecore
from ropecore import Proportional, RopeConfig, RopeError, cache, pack_cache, unpack_cache
from ropecore.arrays import host_array

LIBRARIES = {"array_api_strict": "asarray", "torch": "asarray", "jax.numpy": "asarray"}
FOUND = [name for name in LIBRARIES if importlib.util.find_spec(name.partition(".")[0])]
CONFIG = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=Proportional(0.5))
PLAN, ROWS = CONFIG.plan(), CONFIG.rows()
TABLES = ropecore.cos_sin(PLAN, [0, 3, 7])
IDS, MASK = np.array([[0, 1, 1, 1, 1, 0]], np.int32), np.array([[0, 1, 1], [1, 1, 0]])
GRID = np.array([[1, 4, 4]], np.int32)


def numbers(array: Any) -> np.ndarray:
    return host_array("array", array).astype(np.float64)


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("rows", [None, ROWS], ids=["rows that turn", "all rows"])
@pytest.mark.parametrize("layout", cache.NAMES)
def test_caches(name: str, layout: str, rows: Any) -> None:
    new = getattr(importlib.import_module(name), LIBRARIES[name])
    cos, sin = (new(table.astype(np.float32)) for table in TABLES)
    packed = pack_cache(PLAN, cos, sin, layout, rows=rows)
    wanted = pack_cache(PLAN, *(table.astype(np.float32) for table in TABLES), layout, rows=rows)
    arrays = packed if isinstance(packed, tuple) else [packed]

    assert all(type(array) is type(cos) for array in arrays)
    for one, other in zip(arrays, wanted if isinstance(wanted, tuple) else [wanted], strict=True):
        assert np.array_equal(np.asarray(one), other)
    again = unpack_cache(PLAN, packed, layout, rows=rows)
    assert all(type(table) is type(cos) for table in again)
    assert np.array_equal(numbers(again[0]), numbers(cos))
    assert np.array_equal(numbers(again[1]), numbers(sin))


BUILDERS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "text_positions": (lambda ids: ropecore.text_positions(ids, 3), IDS),
    "axes_first": (ropecore.axes_first, IDS),
    "packed_positions": (ropecore.packed_positions, np.array([0, 2, 2, 5], np.int32)),
    "mask_positions": (ropecore.mask_positions, MASK),
    "dual_chunk_positions": (lambda ids: ropecore.dual_chunk_positions(ids, 8, 2)["succ"], IDS),
    "vision_token_types": (lambda ids: ropecore.vision_token_types(ids, 1), IDS),
    "qwen2_vl_positions": (lambda ids: ropecore.qwen2_vl_positions(ids, GRID).ids, IDS),
    "vision_grid_positions": (ropecore.vision_grid_positions, GRID),
    "llama4_query_scale": (ropecore.llama4_query_scale, IDS),
    "log_n_query_scale": (lambda ids: ropecore.log_n_query_scale(ids, 8), IDS),
    "ministral_query_scale": (lambda ids: ropecore.ministral_query_scale(ids, 4, 0.1), IDS),
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("builder", BUILDERS)
def test_builders(name: str, builder: str) -> None:
    new = getattr(importlib.import_module(name), LIBRARIES[name])
    build, given = BUILDERS[builder]
    result = build(new(given))

    assert type(result) is type(new(given))
    assert np.allclose(numbers(result), numbers(build(given)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", FOUND)
def test_arrays_of_two_libraries_are_refused(name: str) -> None:
    cos = getattr(importlib.import_module(name), LIBRARIES[name])(TABLES[0])

    with pytest.raises(RopeError, match="library of cos"):
        pack_cache(PLAN, cos, TABLES[1], "half")


def test_a_list_makes_an_array_of_numpy() -> None:
    assert type(ropecore.text_positions([1, 2], 3)) is np.ndarray
    assert type(pack_cache(PLAN, TABLES[0].tolist(), TABLES[1].tolist(), "concat")) is np.ndarray
