"""Rules of attention that go with a RoPE but are no rotation: factors on the scores or on queries
(rope.md chapter 9).

Each is a plain function; a model multiplies by its value beside the rotation.  None of them is part
of a plan.
"""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ropecore.arguments import Count, NotNegative, Number, Positive, Whole, checked
from ropecore.arrays import integers, like
from ropecore.config import RopeConfig
from ropecore.errors import RopeError
from ropecore.exact import sixty_digits
from ropecore.scaling import yarn_temperature


def attention_rules(config: RopeConfig) -> list[str]:
    """Return what a configuration that was read from a model says of factors on scores and queries,
    which no plan holds.
    """
    if config.report is None:
        return []
    facts = {fact.key.rpartition(".")[2]: fact.value for fact in (*config.report.used, *config.report.ignored)}
    rule: Any = config.scaling
    rules = []
    if facts.get("mscale_all_dim") and hasattr(rule, "factor"):
        scale = yarn_softmax_scale(rule.factor, facts["mscale_all_dim"])
        rules.append(
            f"the softmax scale is multiplied by {scale:.6g} (yarn_softmax_scale), beside the attention factor"
        )
    if facts.get("llama_4_scaling_beta") and hasattr(rule, "original_max_position"):
        length, beta = rule.original_max_position, facts["llama_4_scaling_beta"]
        rules.append(f"queries are multiplied by 1 + {beta:g} ln(1 + floor(p / {length})) (ministral_query_scale)")
    return rules


@checked
def yarn_softmax_scale(factor: Positive, mscale_all_dim: NotNegative) -> float:
    """Return what YaRN as DeepSeek has it multiplies the softmax scale 1 / sqrt(D) by.

    ms(s, m)^2 with ms(s, m) = 1 if s <= 1, else 0.1 m ln(s) + 1; s = factor, m = mscale_all_dim.
    0, or no such key, gives 1. It acts on scores beside the attention factor A of the plan, which
    acts on cos and sin: with mscale = mscale_all_dim A is 1. Rule R-9.8; DeepSeek-V2's and V3's
    modeling files, `yarn_apply_mscale` of transformers.
    """
    with sixty_digits():
        scale = float(yarn_temperature(factor, mscale_all_dim) ** 2)
    if not np.isfinite(scale):
        raise RopeError("mscale_all_dim", mscale_all_dim, "makes a scale beyond every number", rule="R-9.8")
    return scale


@checked
def llama4_query_scale(positions: Any, attn_scale: Number = 0.1, floor_scale: Count = 8192) -> Any:
    """Return what Llama 4 multiplies queries by, in layers without RoPE, float64 of the shape of
    positions, in their library.

    1 + attn_scale ln(1 + floor((p + 1) / floor_scale)), p = 0, 1, ..  Rule R-9.7; arXiv:2501.19399,
    `attn_temperature_tuning` in transformers. (Programs compute it in float32, where p + 1 is
    rounded above 2^24.)
    """
    return like(positions)(1 + attn_scale * np.log1p((_forward(positions) + 1) // floor_scale))


@checked
def ministral_query_scale(positions: Any, original_max_position: Count, beta: Number) -> Any:
    """Return what Ministral 3 and Mistral 4 multiply queries by, in every layer after the rotation,
    float64 of the shape of positions.

    1 + beta ln(1 + floor(p / original_max_position)): Llama 4's rule without the 1 that is added to
    p.  beta is `llama_4_scaling_beta` of `rope_parameters`.  Rule R-9.7; `get_llama_4_attn_scale`
    in transformers.
    """
    return like(positions)(1 + beta * np.log1p(_forward(positions) // original_max_position))


@checked
def log_n_query_scale(positions: Any, training_length: Annotated[int, Whole(at_least=2)]) -> Any:
    """Return the log-n factor of queries, float64 of the shape of positions: 1 up to the training
    length, then slowly more.

    max(1, ln(p + 1) / ln(training_length)), as p + 1 keys are attended to.  Rule R-9.7; Su Jianlin
    2021, kexue.fm/archives/8823; `use_logn_attn` of Qwen 1 and the ReRoPE of YaRN's repository.
    """
    return like(positions)(np.maximum(1.0, np.log1p(_forward(positions)) / np.log(training_length)))


def _forward(positions: Any) -> npt.NDArray[np.int64]:
    """Return integer positions that count tokens from 0, or refuse others."""
    p = integers("positions", positions)
    if p.size and p.min() < 0:
        raise RopeError("positions", int(p.min()), "must count tokens from 0, as its logarithm is taken", rule="R-12.5")
    return p
