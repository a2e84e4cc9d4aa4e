"""ropecore: the definition of rotary position embedding (RoPE), and its NumPy reference.

    config -> plan -> tables -> rotation

`RopeConfig` says what a model's RoPE is, `RotaryPlan` is its normal form, and `ropecore.backends`
rotates with it. The rules are in rope.md; `ropecore.spec` has its golden vectors and
`ropecore.conformance` runs them.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ropecore._version import __version__ as __version__
from ropecore.config import RopeConfig as RopeConfig
from ropecore.errors import RopeError as RopeError
from ropecore.forks import IMPORTS as _IMPORTS
from ropecore.plan import RotaryPlan as RotaryPlan
from ropecore.positions import axes_first as axes_first
from ropecore.positions import dual_chunk_positions as dual_chunk_positions
from ropecore.positions import mask_positions as mask_positions
from ropecore.positions import packed_positions as packed_positions
from ropecore.positions import text_positions as text_positions
from ropecore.rotation import angles as angles
from ropecore.rotation import cos_sin as cos_sin
from ropecore.rotation import rotate as rotate
from ropecore.scaling import NTK as NTK
from ropecore.scaling import Damped as Damped
from ropecore.scaling import DynamicNTK as DynamicNTK
from ropecore.scaling import Linear as Linear
from ropecore.scaling import Llama3 as Llama3
from ropecore.scaling import LongRoPE as LongRoPE
from ropecore.scaling import NTKByParts as NTKByParts
from ropecore.scaling import Proportional as Proportional
from ropecore.scaling import XPos as XPos
from ropecore.scaling import YaRN as YaRN

if TYPE_CHECKING:
    from ropecore.attention import llama4_query_scale as llama4_query_scale
    from ropecore.attention import log_n_query_scale as log_n_query_scale
    from ropecore.attention import ministral_query_scale as ministral_query_scale
    from ropecore.attention import yarn_softmax_scale as yarn_softmax_scale
    from ropecore.cache import pack_cache as pack_cache
    from ropecore.cache import unpack_cache as unpack_cache
    from ropecore.conformance.identify import Identification as Identification
    from ropecore.conformance.identify import identify as identify
    from ropecore.forms import rotate_additive as rotate_additive
    from ropecore.forms import rotate_complex as rotate_complex
    from ropecore.forms import rotation_matrix as rotation_matrix
    from ropecore.forms import sinusoidal_encoding as sinusoidal_encoding
    from ropecore.forms import sparse_rotation_matrix as sparse_rotation_matrix
    from ropecore.linear import linear_attention as linear_attention
    from ropecore.read import read_config as read_config
    from ropecore.read import read_configs as read_configs
    from ropecore.vision_positions import ernie4_5_vl_positions as ernie4_5_vl_positions
    from ropecore.vision_positions import glm4v_positions as glm4v_positions
    from ropecore.vision_positions import qwen2_5_vl_positions as qwen2_5_vl_positions
    from ropecore.vision_positions import qwen2_vl_positions as qwen2_vl_positions
    from ropecore.vision_positions import qwen3_vl_positions as qwen3_vl_positions
    from ropecore.vision_positions import vision_grid_positions as vision_grid_positions
    from ropecore.vision_positions import vision_token_types as vision_token_types
    from ropecore.weights import convert_pairing as convert_pairing

_root = Path(__file__).parents[1]
if (_root / "spec" / "generate" / "__init__.py").is_file():  # a checkout: no wheel has the generator
    __path__.append(str(_root))  # backends, conformance and spec lie beside this folder

# modules that are loaded when one of their names is first asked for: no rotation needs them
_LATER = {
    "ropecore.attention": ("llama4_query_scale", "log_n_query_scale", "ministral_query_scale", "yarn_softmax_scale"),
    "ropecore.cache": ("pack_cache", "unpack_cache"),
    "ropecore.conformance.identify": ("Identification", "identify"),
    "ropecore.forms": (
        "rotate_additive",
        "rotate_complex",
        "rotation_matrix",
        "sinusoidal_encoding",
        "sparse_rotation_matrix",
    ),
    "ropecore.linear": ("linear_attention",),
    "ropecore.read": ("read_config", "read_configs"),
    "ropecore.vision_positions": (
        "ernie4_5_vl_positions",
        "glm4v_positions",
        "qwen2_5_vl_positions",
        "qwen2_vl_positions",
        "qwen3_vl_positions",
        "vision_grid_positions",
        "vision_token_types",
    ),
    "ropecore.weights": ("convert_pairing",),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    with _IMPORTS:
        if f"ropecore.{name}" in _LATER:  # the module itself, as `ropecore.weights`
            return import_module(f"ropecore.{name}")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, getattr(import_module(_MODULES[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
