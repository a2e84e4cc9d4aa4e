"""What each flag means: the wrong implementation that a case was made to catch, what it does, and
where it was seen.

Threads are `owner/repository#number`.  An empty list: found by reasoning, not met yet.
"""

from .flags_lost import LOST
from .note import Note, note

CORE = {
    "M1": note(
        "the sine has the wrong sign",
        "the inverse rotation; right at position 0, and for scores of a vector with itself",
        "karpathy/nanochat#489",
    ),
    "M2": note("sine and cosine are exchanged", "wrong everywhere, at position 0 too"),
    "M3": note(
        "half_split and interleaved are confused",
        "fluent output that degrades; right at position 0 and at head_dim 2",
        "Dao-AILab/flash-attention#288",
        "karpathy/llama2.c#286",
        "NVIDIA/TensorRT-LLM#16378",
        "warpfront/hipfire#241",
        "tile-ai/TileOPs#443",
    ),
    "M4": note(
        "lanes are read interleaved and written half-split",
        "every score is right and every vector is permuted, at position 0 too",
        "openvinotoolkit/openvino#36165",
    ),
    "M5": note(
        "a table for half-split pairs is used with interleaved ones",
        "the two lanes of a pair turn by different angles, so norms change",
        "xiangking/ark-nlp#47",
        "facebookresearch/vjepa2#15",
    ),
    "M6": note("the exponent is -j/d in place of -2j/d", "every pair but the first turns too fast"),
    "M7": note("the exponent's denominator is d - 2", "every pair but the first turns a little too slowly"),
    "M8": note(
        "the exponent is positive",
        "late pairs turn by thousands of radians a token; right at position 0",
        "xlite-dev/LeetCUDA#289",
        "labmlai/annotated_deep_learning_paper_implementations#313",
    ),
    "M9": note("the frequencies are in reverse order", "the first pair is the slowest"),
    "M10": note(
        "the base is 10000, whatever the configuration says",
        "short prompts look right, long ones drift",
        "THUDM/slime#1720",
        "sgl-project/SpecForge#265",
        "google/gemma.cpp#986",
    ),
    "M11": note(
        "the base is held in float16",
        "a base above 65504 becomes infinite and all pairs but the first stand still",
        "vllm-project/vllm#1004",
    ),
    "M12": note(
        "the rotation is applied twice",
        "positions count double; right at position 0",
        "NVIDIA/TensorRT-LLM#16378",
        "EleutherAI/gpt-neox#363",
    ),
    "M13": note(
        "in place, a lane is overwritten before its partner has been read",
        "the second lane of each pair is made of the rotated first one",
        "flagos-ai/FlagGems#5143",
    ),
    "M14": note("the rotation is a matrix product over all lanes", "one NaN or infinity spreads over the whole head"),
    "M15": note("a tensor that must not be rotated is rotated too", "values, or lanes that pass through, change"),
    "M16": note("a call out of place changes its input", "a caller that uses the input again gets it rotated"),
    "M17": note(
        "the result is promoted to float32",
        "memory doubles, and later layers meet an unexpected dtype",
        "huggingface/transformers#24262",
    ),
}

PARTIAL = {
    "M18": note(
        "the last lanes are rotated in place of the first", "the part without position is rotated and the other is not"
    ),
    "M19": note(
        "rotary_dim is ignored: all lanes are rotated",
        "lanes that carry no position are turned",
        "AI-Hypercomputer/maxtext#4616",
        "vllm-project/vllm#43770",
        "ml-explore/mlx-lm#1698",
    ),
    "M20": note(
        "the exponent's denominator is head_dim in a partial rotation",
        "every pair but the first turns too fast",
        "pie-project/pie#602",
    ),
    "M21": note(
        "lanes are paired at head_dim / 2 in a partial rotation",
        "the tables are right and most rotated lanes are wrong",
        "pie-project/pie#602",
        "labscommunity/cascadia#69",
    ),
    "M22": note(
        "a proportional rotation is done as a partial one, or the reverse",
        "frequencies agree pair by pair, lanes do not",
        "NVIDIA-NeMo/Megatron-Bridge#4195",
        "apple/coreai-models#66",
    ),
    "M23": note("the attention factor multiplies lanes that pass through", "unrotated lanes grow, at position 0 too"),
    "M24": note(
        "an odd rotary_dim is accepted",
        "a lane is lost or paired with a neighbour that is not its own",
        "lucidrains/rotary-embedding-torch#45",
    ),
    "M25": note(
        "the sine is looked up behind a size padded to a power of two",
        "right for rotary_dim 4, 8, 16, 64, 128, wrong for 6 or 96",
        "vllm-project/vllm-ascend#15688",
    ),
}

POSITIONS = {
    "M26": note(
        "the values of the positions are ignored, only their number counts",
        "right for 0, 1, 2, .. alone",
        "NVIDIA/Megatron-LM#453",
        "NVIDIA-NeMo/Automodel#2377",
    ),
    "M27": note(
        "the positions of the first batch row are used for all",
        "short rows of a batch get the positions of a long one",
        "unslothai/unsloth#3699",
    ),
    "M28": note(
        "with one token a row, only the first row is rotated",
        "a batch of more than one decodes garbage",
        "ml-explore/mlx#3494",
        "oxiglade/mlx-rs#359",
    ),
    "M29": note(
        "offsets of rows are added along the tokens",
        "silent where the batch is as long as the sequence, an error elsewhere",
        "Blaizzy/mlx-vlm#1883",
    ),
    "M30": note(
        "the offset is ignored, or counted twice",
        "decoding with a cache starts at the wrong place",
        "lucidrains/rotary-embedding-torch#11",
        "skyzh/tiny-llm#46",
        "pytorch/executorch#2010",
    ),
    "M31": note(
        "positions are counted from 1",
        "scores are right; keys of another program do not fit",
        "microsoft/onnxruntime-genai#2354",
    ),
    "M32": note("the size of a position is used without its sign", "right for positions from 0 on"),
    "M33": note("-1 wraps to the largest unsigned integer", "right for positions from 0 on"),
    "M34": note("a negative position indexes a table from its end", "-1 is the last row of the table"),
    "M35": note(
        "positions beyond a table are clamped to its end", "all far tokens have one position", "jax-ml/jax#9952"
    ),
    "M36": note("positions beyond a table start again at its front", "far tokens look near"),
    "M37": note(
        "the length of a table changes its content",
        "the same position differs between a short and a long sequence",
        "NVIDIA/TensorRT-LLM#14241",
    ),
    "M38": note("positions are held in 16 bits", "wrong from 32768 on"),
    "M39": note("positions pass through float32", "odd positions above 2^24 are rounded to even ones"),
    "M40": note(
        "positions do not start again at each packed document",
        "later documents look far away",
        "NVIDIA/Megatron-LM#5243",
        "tenstorrent/tt-metal#36808",
        "allenai/OLMo-core#503",
    ),
    "M41": note(
        "sequence and heads are exchanged",
        "tokens turn by the index of their head; silent where both are equal in number",
        "facebookresearch/xformers#841",
        "Om-Alve/smolGPT#22",
        "rasbt/LLMs-from-scratch#411",
    ),
    "M42": note(
        "an input that is not contiguous is read as if it were",
        "lanes of other tokens are rotated",
        "vllm-project/vllm#17091",
        "vllm-project/vllm#18046",
        "ROCm/apex#334",
    ),
    "M43": note(
        "keys are rotated with the number of query heads",
        "groups read the wrong head of k, or memory beyond it",
        "llvm/torch-mlir#4470",
        "sgl-project/sglang#20559",
    ),
}

PRECISION = {
    "M44": note(
        "positions are held in bfloat16",
        "256 and 257 are one position",
        "EleutherAI/gpt-neox#1016",
        "huggingface/candle#3520",
        "huggingface/diffusers#13920",
        "pytorch/pytorch#137774",
    ),
    "M45": note(
        "positions are held in float16",
        "odd positions above 2048 are rounded, those from 65520 on infinite",
        "NVIDIA/Megatron-LM#535",
    ),
    "M46": note(
        "frequencies are held in bfloat16",
        "angles are off by up to 0.4 per cent of themselves",
        "sgl-project/sglang-jax#1472",
        "Modalities/modalities#462",
        "NVIDIA-NeMo/Automodel#2549",
    ),
    "M47": note(
        "frequencies are held in float16",
        "angles are off, and slow pairs of a large base stand still",
        "EleutherAI/gpt-neox#1003",
    ),
    "M48": note(
        "the product of position and frequency is held in bfloat16",
        "wrong from position 257 on, everywhere a little",
        "EleutherAI/gpt-neox#1003",
    ),
    "M49": note(
        "angles come from a matrix product that rounds its factors (TF32, bfloat16)",
        "odd positions above 2048 are rounded; the code holds no cast",
        "huggingface/transformers#48428",
        "thinking-machines-lab/batch_invariant_ops#23",
        "jax-ml/jax#10413",
    ),
    "M50": note(
        "an ambient mode (autocast, default dtype, TF32, x64) changes the result",
        "a model differs between two ways to run it",
        "huggingface/transformers#29285",
        "huggingface/diffusers#13920",
    ),
    "M51": note(
        "fast-math sines, or a reduction by a rounded 2 pi",
        "errors grow with the position: 1e-2 at 131071",
        "kekzl/imp#1316",
    ),
    "M52": note(
        "tables are bfloat16 where float32 is declared",
        "an error of 2e-3 everywhere but at position 0",
        "sgl-project/sglang#33117",
        "flashinfer-ai/flashinfer#585",
        "KellerJordan/modded-nanogpt#39",
    ),
    "M53": note(
        "products and sums are bfloat16 where float32 is declared",
        "a third of all elements is off by one unit in the last place",
        "NVIDIA/TransformerEngine#1245",
        "PrimeIntellect-ai/prime-rl#3562",
    ),
    "M54": note(
        "frequencies come from exp(-j ln b) in float32",
        "angles are off by up to 12 units in the last place of the frequency",
        "ml-explore/mlx#561",
    ),
}

SCALING = {
    "M55": note("linear scaling multiplies by the factor", "positions are spread in place of pressed together"),
    "M56": note(
        "dynamic NTK acts below the trained length", "the base shrinks, or becomes 0", "vllm-project/vllm#52665"
    ),
    "M57": note("NTK divides every frequency by the same number", "pair 0, which must not change, slows down"),
    "M58": note("NTK's exponent is d/(d-1)", "every pair but the first is a little too fast"),
    "M59": note(
        "the state of a long input outlives it",
        "after one long sequence short ones use the stretched base",
        "huggingface/transformers#25306",
        "huggingface/transformers#46624",
    ),
    "M60": note(
        "the llama3 rule is ignored",
        "short prompts look right, those beyond the trained length do not",
        "huggingface/transformers#32330",
        "unslothai/unsloth#6197",
        "ikawrakow/ik_llama.cpp#2291",
    ),
    "M61": note(
        "llama3's middle band is linear in the wavelength",
        "six pairs of 64 are off by up to 90 per cent",
        "ml-explore/mlx-examples#907",
    ),
    "M62": note(
        "llama3's blend lacks a pair of parentheses",
        "six pairs of 64 are off by up to 97 per cent",
        "ggml-org/llama.cpp#8676",
        "InternLM/lmdeploy#2157",
    ),
    "M63": note("llama3's two factors, or the ends of its blend, are exchanged", "six pairs of 64 are off"),
    "M64": note(
        "YaRN's range is rounded where it must not be, or the reverse",
        "some pairs are off by half",
        "vllm-project/vllm#27722",
        "keras-team/keras-hub#2981",
    ),
    "M65": note("YaRN's range is clamped at d/2 - 1", "only long trained lengths show it", "keras-team/keras-hub#2981"),
    "M66": note(
        "YaRN's range is taken from the extended length",
        "rounding hides it for small factors",
        "NVIDIA/Megatron-LM#1418",
    ),
    "M67": note(
        "YaRN's ramp runs the wrong way, or its betas are exchanged", "fast pairs are divided and slow ones are not"
    ),
    "M68": note(
        "the attention factor is missing",
        "attention is too flat; visible at position 0",
        "jundot/omlx#3347",
        "ggml-org/llama.cpp#17945",
        "vllm-project/vllm#48621",
    ),
    "M69": note("the attention factor multiplies cosines alone", "right at position 0, wrong elsewhere"),
    "M70": note(
        "an explicit attention_factor of 1 counts as absent",
        "1.416 in place of 1",
        "vllm-project/vllm#46280",
        "vllm-project/vllm#48351",
    ),
    "M71": note(
        "mscale and mscale_all_dim are ignored, or used one without the other",
        "1.277 in place of 1",
        "vllm-project/vllm#48621",
        "ml-explore/mlx-lm#1507",
        "turboderp-org/exllamav3#259",
        "huggingface/transformers#47435",
    ),
    "M72": note(
        "the attention factor is in scores once, not squared",
        "scores at equal positions are A in place of A^2",
        "NVIDIA/TensorRT-LLM#16378",
    ),
    "M73": note(
        "LongRoPE turns long at exactly the trained length", "wrong at one length alone", "unslothai/unsloth#10681"
    ),
    "M74": note(
        "LongRoPE is chosen by the capacity, not by the sequence",
        "short prompts of a long-context model use the long factors",
        "vllm-project/vllm#27431",
        "lablup/mlxcel#1358",
        "ggml-org/llama.cpp#24875",
    ),
    "M75": note("LongRoPE's factors multiply", "frequencies grow in place of shrinking"),
    "M76": note("LongRoPE has YaRN's attention factor", "1.35 in place of 1.19 at factor 32"),
}

AXES = {
    "M77": note(
        "height and width are exchanged",
        "square, symmetric grids look right",
        "osaurus-ai/vmlx-swift#225",
        "vllm-project/vllm#29425",
        "Meituan-AutoML/VisionLLaMA#4",
    ),
    "M78": note(
        "axes are chunked where they are interleaved",
        "text looks right, images do not",
        "vllm-project/vllm-gaudi#1437",
        "HabanaAI/vllm-fork#2117",
    ),
    "M79": note(
        "the interleaving of axes does not end with their sections",
        "late pairs have the wrong axis",
        "XPU-Forces/mojo_opset#276",
    ),
    "M80": note(
        "sections are not repeated for the second half of the lanes", "the two lanes of a pair turn with different axes"
    ),
    "M81": note(
        "the exponent of an axis has the whole head as its denominator",
        "every axis turns too fast but for its first pair",
        "naver-ai/rope-vit#1",
    ),
    "M82": note(
        "the sizes of the axes come from another formula",
        "24, 20, 20 lanes become 22, 21, 21",
        "huggingface/diffusers#12538",
    ),
    "M83": note(
        "text in a plan with several axes differs from text in a plan with one",
        "a vision model answers text differently",
        "Blaizzy/mlx-vlm#1095",
        "linkedin/Liger-Kernel#276",
    ),
}

STATE = {
    "M84": note(
        "a cache of tables does not know the base", "the second model in a process uses the tables of the first"
    ),
    "M85": note(
        "a cache of tables does not know offset, dtype, device or layout",
        "the second call uses the tables of the first",
        "lucidrains/rotary-embedding-torch#11",
        "lucidrains/rotary-embedding-torch#48",
        "ml-explore/mlx#561",
    ),
    "M86": note(
        "tables are uninitialised after construction on the meta device",
        "NaN, or finite garbage",
        "huggingface/transformers#45902",
        "pytorch/torchtitan#4783",
        "NovaSky-AI/SkyRL#1709",
    ),
    "M87": note(
        "the gradient turns forward",
        "training goes wrong where inference is right",
        "naver/croco#49",
        "NVIDIA/apex#1750",
    ),
    "M88": note(
        "there is no gradient",
        "layers below the attention do not learn",
        "huggingface/candle#3568",
        "Blaizzy/mlx-vlm#1475",
    ),
    "M89": note(
        "the gradient ignores the offset or the attention factor",
        "right at offset 0 with A = 1",
        "ggml-org/llama.cpp#3974",
    ),
    "M90": note("the inverse does not divide by A squared", "rotating and back multiplies by A^2", "NVIDIA/kvpress#31"),
    "M91": note(
        "two rotations are not the rotation by the sum",
        "cached keys drift when they are moved",
        "huggingface/transformers#35350",
        "ggml-org/llama.cpp#4097",
    ),
}

WEIGHTS = {
    "M92": note(
        "weights are permuted forward where the inverse is meant",
        "right for head_dim 2 and 4 alone",
        "onnxruntime/mobius#396",
    ),
    "M93": note(
        "weights of k are permuted with a wrong number of heads",
        "invisible where Hq / Hk equals Hk",
        "jzhang38/TinyLlama#24",
        "ggml-org/llama.cpp#3364",
    ),
    "M94": note(
        "biases, norms, scales or LoRA factors are not permuted with the weights",
        "mistaken for a sensitivity to quantisation",
        "vllm-project/vllm#34243",
        "vllm-project/vllm#55335",
        "ggml-org/llama.cpp#8332",
    ),
    "M95": note(
        "a configuration is read by the keys of another version",
        "a default stands in for the given value, silently",
        "THUDM/slime#1720",
        "vllm-project/vllm#28542",
        "ROCm/aiter#4742",
    ),
}

NOTES: dict[str, Note] = CORE | PARTIAL | POSITIONS | PRECISION | SCALING | AXES | STATE | WEIGHTS | LOST
