#!/usr/bin/env python3
"""Makes the fixtures of quantized checkpoints: tiny random models whose matrices are rounded and stored as the
published schemes store them, with the logits and greedy tokens of the transformers classes in float32 on the
dequantized weights.

    python3 make_quantized_fixtures.py OUT_DIR [NAME ...]

Needs torch, transformers, safetensors; for compressed-tensors schemes also the package of that name, which packs
what is written and dequantizes it again. Dequantization is written here a second time, from the rules alone:
AWQ and GPTQ    w = scale * (code - zero)
FP8             w = scale * value
Each directory holds config.json, model.safetensors, and golden.safetensors as make_fixtures.py makes it, with
  dequantized.MODULE  float32 [rows, cols], the exact values of some matrices
"""
import argparse
import json
import os
import re
import shutil
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

import make_fixtures

make_fixtures.PROMPT_LENGTHS = (1, 7, 17, 90)
SHOWN = 3  # matrices whose values go into golden.safetensors
MODULE = re.compile(r"\.(self_attn\.[qkvo]_proj|.*experts?\..*)\.weight$")  # what the quantizers take

BASE = dict(vocab_size=96, num_hidden_layers=2, max_position_embeddings=512, eos_token_id=3, bos_token_id=1,
            hidden_size=64, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
MIXTRAL = ("Mixtral", dict(intermediate_size=96, num_local_experts=4, num_experts_per_tok=2))
OLMOE = ("Olmoe", dict(intermediate_size=64, num_experts=5, num_experts_per_tok=2, norm_topk_prob=True))
QWEN2 = ("Qwen2Moe", dict(intermediate_size=64, moe_intermediate_size=64, shared_expert_intermediate_size=128,
                          num_experts=4, num_experts_per_tok=2))
QWEN3 = ("Qwen3Moe", dict(intermediate_size=64, moe_intermediate_size=64, head_dim=32, num_experts=5,
                          num_experts_per_tok=2, norm_topk_prob=True))

# name -> (architecture and its fields, scheme, options)
CASES = {
    "awq-mixtral-g32": (MIXTRAL, "awq", dict(group=32, dtype="float16", skip=["gate"])),
    "awq-qwen2-moe-g64": (QWEN2, "awq", dict(group=64, dtype="float16", skip=["gate", "layers.0.self_attn"])),
    "packed-olmoe-symmetric-g32": (OLMOE, "packed", dict(
        group=32, symmetric=True, dtype="bfloat16", skip=["lm_head", r"re:.*mlp\.gate$"])),
    "packed-qwen3-moe-asymmetric-g64": (QWEN3, "packed", dict(
        group=64, symmetric=False, dtype="bfloat16",
        skip=["lm_head", r"re:.*mlp\.gate$", r"re:.*experts\.[13]\.down_proj", "model.layers.1.mlp.experts.2.up_proj",
              r"re:.*layers\.0\.mlp\.experts\.4\..*"])),
    "packed-qwen3-moe-whole-rows": (QWEN3, "packed", dict(
        group=0, symmetric=True, dtype="float16", skip=["lm_head", r"re:.*mlp\.gate$"])),
    "gptq-qwen3-moe-symmetric-g32": (QWEN3, "gptq", dict(
        group=32, symmetric=True, version=1, dtype="float16", skip=[])),
    "gptq-olmoe-v1-g64": (OLMOE, "gptq", dict(
        group=64, symmetric=False, version=1, dtype="bfloat16", skip=[r"re:.*layers\.0\.self_attn.*"])),
    "gptq-mixtral-v2-whole-rows": (MIXTRAL, "gptq", dict(
        group=0, symmetric=False, version=2, dtype="float16", skip=[])),
    "fp8-qwen3-moe-tiles": (("Qwen3Moe", dict(
        hidden_size=128, intermediate_size=128, moe_intermediate_size=256, num_hidden_layers=1, head_dim=32,
        num_experts=3, num_experts_per_tok=2, norm_topk_prob=True)), "fp8", dict(
            tile=(48, 128), dtype="bfloat16", skip=["lm_head", "model.layers.0.mlp.gate"])),
    "float-olmoe-by-row": (("Olmoe", dict(
        hidden_size=128, intermediate_size=128, num_experts=3, num_experts_per_tok=2, norm_topk_prob=True)),
        "float", dict(strategy="channel", dtype="bfloat16",
                      skip=["lm_head", r"re:.*mlp\.gate$", r"re:.*experts\.1\.up_proj"])),
    "float-mixtral-by-matrix": (("Mixtral", dict(
        hidden_size=128, intermediate_size=128, num_local_experts=3, num_experts_per_tok=1)),
        "float", dict(strategy="tensor", dtype="bfloat16", skip=["lm_head", r"re:.*block_sparse_moe\.gate$"])),
}


def skipped(module, patterns):
    for pattern in patterns:
        if pattern.startswith("re:"):
            if re.match(pattern[3:], module):
                return True
        elif module == pattern or module.endswith("." + pattern) or ("." + pattern + ".") in "." + module + ".":
            return True
    return False


def round_int4(weight, group, symmetric, dtype):
    """Codes 0..15 and zero points as int64 [rows, cols] and [rows, groups], scales in `dtype` [rows, groups]."""
    rows, cols = weight.shape
    parts = weight.reshape(rows, cols // (group or cols), group or cols).astype(np.float64)
    if symmetric:
        span = np.abs(parts).max(axis=2) / 7.5
    else:
        span = (np.maximum(parts.max(axis=2), 0) - np.minimum(parts.min(axis=2), 0)) / 15
    scales = torch.from_numpy(span).to(dtype)
    exact = scales.double().numpy()
    zeros = np.full(exact.shape, 8, dtype=np.int64)
    if not symmetric:
        zeros = np.clip(np.round(-np.minimum(parts.min(axis=2), 0) / exact), 0, 15).astype(np.int64)
    codes = np.clip(np.round(parts / exact[:, :, None]) + zeros[:, :, None], 0, 15).astype(np.int64)
    return codes.reshape(rows, cols), zeros, scales


def dequantize(codes, zeros, scales):
    rows, cols = codes.shape
    parts = codes.reshape(rows, zeros.shape[1], -1) - zeros[:, :, None]
    return (scales.double().numpy()[:, :, None] * parts).astype(np.float32).reshape(rows, cols)


def pack_words(values, order=range(8)):
    """Eight numbers of a row per int32; nibble i holds number order[i]."""
    words = np.zeros((values.shape[0], values.shape[1] // 8), dtype=np.uint32)
    for i, source in enumerate(order):
        words |= values[:, source::8].astype(np.uint32) << np.uint32(4 * i)
    return torch.from_numpy(words.view(np.int32).copy())


def store_awq(module, weight, options):
    codes, zeros, scales = round_int4(weight, options["group"], False, options["dtype"])
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    tensors = {
        module + ".qweight": pack_words(codes.T, order),
        module + ".qzeros": pack_words(zeros.T, order),
        module + ".scales": scales.T.contiguous(),
    }
    return tensors, dequantize(codes, zeros, scales)


def awq_config(options):
    return dict(quant_method="awq", bits=4, group_size=options["group"], zero_point=True, version="gemm",
                modules_to_not_convert=options["skip"])


def store_gptq(module, weight, options):
    codes, zeros, scales = round_int4(weight, options["group"], options["symmetric"], options["dtype"])
    if options["version"] == 1:
        zeros = np.maximum(zeros, 1)  # as no 0 can be written
    tensors = {
        module + ".qweight": pack_words(codes).T.contiguous(),
        module + ".qzeros": pack_words(zeros.T - (options["version"] == 1)),
        module + ".scales": scales.T.contiguous(),
        module + ".g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // (options["group"] or weight.shape[1]),
    }
    return tensors, dequantize(codes, zeros, scales)


def gptq_config(options):
    return dict(quant_method="gptq", bits=4, group_size=options["group"] or -1, sym=options["symmetric"],
                desc_act=False, checkpoint_format="gptq" if options["version"] == 1 else "gptq_v2",
                lm_head=False, true_sequential=True,
                dynamic={"-:" + pattern.removeprefix("re:"): {} for pattern in options["skip"]})


def store_packed(module, weight, options):
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    codes, zeros, scales = round_int4(weight, options["group"], options["symmetric"], options["dtype"])
    tensors = {
        "weight_packed": pack_to_int32(torch.from_numpy(codes - 8).to(torch.int8), 4),
        "weight_scale": scales,
        "weight_shape": torch.tensor(weight.shape),
    }
    if not options["symmetric"]:
        tensors["weight_zero_point"] = pack_to_int32(torch.from_numpy(zeros - 8).to(torch.int8), 4, packed_dim=0)
    values = dequantize(codes, zeros, scales)
    scheme = QuantizationScheme(targets=["Linear"], weights=packed_weights(options))
    theirs = PackedQuantizationCompressor.decompress({**tensors, "weight_scale": scales.float()}, scheme)["weight"]
    assert np.array_equal(theirs.float().numpy(), values), module
    return {module + "." + name: tensor for name, tensor in tensors.items()}, values


def packed_weights(options):
    weights = dict(num_bits=4, type="int", symmetric=options["symmetric"])
    return {**weights, **(dict(strategy="group", group_size=options["group"]) if options["group"]
                          else dict(strategy="channel"))}


def packed_config(options):
    weights = dict(packed_weights(options), dynamic=False, actorder=None, block_structure=None, observer="minmax")
    group = dict(targets=["Linear"], weights=weights, input_activations=None, output_activations=None)
    return dict(quant_method="compressed-tensors", format="pack-quantized", quantization_status="compressed",
                config_groups=dict(group_0=group), ignore=options["skip"], kv_cache_scheme=None)


def round_fp8(weight, tile, dtype):
    """E4M3 values [rows, cols] and scales [rows / tile rows, cols / tile columns], rounded up."""
    rows, cols = weight.shape
    tall, wide = tile
    padded = np.zeros((-(-rows // tall) * tall, -(-cols // wide) * wide))
    padded[:rows, :cols] = weight
    parts = padded.reshape(padded.shape[0] // tall, tall, padded.shape[1] // wide, wide)
    scales = torch.from_numpy(np.abs(parts).max(axis=(1, 3)) / 448).to(dtype)
    spread = np.repeat(np.repeat(scales.double().numpy(), tall, 0), wide, 1)[:rows, :cols]
    values = torch.from_numpy(np.clip(weight / spread, -448, 448)).to(torch.float32).to(torch.float8_e4m3fn)
    return values, scales, (spread.astype(np.float32) * values.float().numpy()).astype(np.float32)


def store_fp8(module, weight, options):
    values, scales, exact = round_fp8(weight, options["tile"], torch.float32)
    return {module + ".weight": values, module + ".weight_scale_inv": scales}, exact


def fp8_config(options):
    return dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=list(options["tile"]),
                modules_to_not_convert=options["skip"])


def store_float(module, weight, options):
    from compressed_tensors.compressors import FloatQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    rows, cols = weight.shape
    by_row = options["strategy"] == "channel"
    values, scales, exact = round_fp8(weight, (1 if by_row else rows, cols), options["dtype"])
    tensors = {"weight": values, "weight_scale": scales if by_row else scales.reshape(1)}
    scheme = QuantizationScheme(targets=["Linear"], weights=float_weights(options))
    theirs = FloatQuantizationCompressor.decompress({"weight": values, "weight_scale": scales.float()}, scheme)
    assert np.array_equal(theirs["weight"].float().numpy(), exact), module
    return {module + "." + name: tensor for name, tensor in tensors.items()}, exact


def float_weights(options):
    return dict(num_bits=8, type="float", symmetric=True, strategy=options["strategy"])


def float_config(options):
    weights = dict(float_weights(options), dynamic=False, actorder=None, block_structure=None, group_size=None,
                   observer="minmax")
    inputs = dict(weights, dynamic=True, strategy="token", observer=None)
    group = dict(targets=["Linear"], weights=weights, input_activations=inputs, output_activations=None)
    return dict(quant_method="compressed-tensors", format="float-quantized", quantization_status="compressed",
                config_groups=dict(group_0=group), ignore=options["skip"], kv_cache_scheme=None)


SCHEMES = {"fp8": (store_fp8, fp8_config), "float": (store_float, float_config),
           "awq": (store_awq, awq_config), "gptq": (store_gptq, gptq_config), "packed": (store_packed, packed_config)}


def plain_tensors(model, directory):
    """The tensors of a model under the names of published checkpoints."""
    model.save_pretrained(directory, save_original_format=True)
    with safe_open(os.path.join(directory, "model.safetensors"), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def make_model(case, seed, work):
    """The quantized tensors, config and golden tensors of one seed."""
    (architecture, fields), scheme, options = case
    store, config = SCHEMES[scheme]
    options = {**options, "dtype": getattr(torch, options["dtype"])}
    model_class = getattr(transformers, architecture + "ForCausalLM")
    model = model_class(getattr(transformers, architecture + "Config")(**{**BASE, **fields}))
    make_fixtures.init_weights(model, torch.Generator().manual_seed(seed))
    stored, values, dequantized = {}, {}, {}
    for name, tensor in plain_tensors(model.to(options["dtype"]), work).items():
        module = name.removesuffix(".weight")
        if not MODULE.search(name) or "expert_gate" in name or skipped(module, options["skip"]):
            stored[name], values[name] = tensor, tensor.float()
            continue
        tensors, weight = store(module, tensor.float().numpy(), options)
        stored.update(tensors)
        values[name] = torch.from_numpy(weight)
        dequantized[module] = values[name]
    save_file(values, os.path.join(work, "model.safetensors"), metadata={"format": "pt"})
    reference = model_class.from_pretrained(work, dtype=torch.float32, attn_implementation="eager",
                                            experts_implementation="eager").eval()
    golden, distinct, lead = make_fixtures.golden(reference, seed)
    names = sorted(dequantized)
    for name in names[::max(1, len(names) // SHOWN)][:SHOWN]:
        golden["dequantized." + name] = dequantized[name].contiguous()
    with open(os.path.join(work, "config.json")) as file:
        fields = json.load(file)
    return stored, {**fields, "quantization_config": config(options)}, golden, distinct, lead


def make(name, out_dir):
    directory = os.path.join(out_dir, name)
    first_seed = 5000 + 100 * list(CASES).index(name)
    for seed in range(first_seed, first_seed + make_fixtures.MAX_SEEDS):
        with tempfile.TemporaryDirectory() as work:
            stored, config, golden, distinct, lead = make_model(CASES[name], seed, work)
        if distinct >= make_fixtures.MIN_DISTINCT and lead > make_fixtures.MIN_LEAD:
            break
    else:
        raise RuntimeError(f"{name}: no seed gives a varied greedy text")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
    save_file({key: tensor.contiguous() for key, tensor in stored.items()},
              os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    save_file(golden, os.path.join(directory, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(directory, file)) for file in os.listdir(directory))
    assert size <= 1 << 20, f"{name}: {size} bytes"
    print(f"{name}: seed {seed}, {size} bytes, {distinct} distinct greedy tokens, smallest lead {lead:.2g}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    parser.add_argument("names", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for name in arguments.names or list(CASES):
        make(name, arguments.out_dir)


if __name__ == "__main__":
    main()
