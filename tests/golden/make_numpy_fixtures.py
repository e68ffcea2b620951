#!/usr/bin/env python3
"""Makes the golden fixtures of architectures that transformers has no class for, as make_fixtures.py does for the others;
the answers are those of numpy_reference.py.

    python3 make_numpy_fixtures.py OUT_DIR [NAME ...]
"""
import argparse
import json
import os
import shutil

import torch
from safetensors.torch import save_file

import make_fixtures
import numpy_reference

SMALLTHINKER = dict(architectures=["SmallThinkerForCausalLM"], model_type="smallthinker", rms_norm_eps=1e-6, rope_scaling=None)
PREGATED = dict(architectures=["ForegatePreGatedMoeForCausalLM"], model_type="foregate_pregated_moe", rms_norm_eps=1e-6,
                hidden_act="silu", attention_bias=False, decoder_sparse_step=1, use_sliding_window=False)

# name -> (config fields, dtype of the file)
CASES = {
    "smallthinker-sigmoid-layouts": (dict(
        SMALLTHINKER, num_hidden_layers=5, hidden_size=40, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
        rope_theta=1.5e6, rope_layout=[0, 1, 1, 1, 0], sliding_window_layout=[0, 1, 1, 1, 0], sliding_window_size=24,
        moe_num_primary_experts=8, moe_num_active_primary_experts=3, moe_ffn_hidden_size=20,
        moe_primary_router_apply_softmax=False, norm_topk_prob=True, tie_word_embeddings=True), "bfloat16"),
    "smallthinker-softmax": (dict(
        SMALLTHINKER, num_hidden_layers=3, hidden_size=36, num_attention_heads=4, num_key_value_heads=4, head_dim=12,
        rope_theta=1e4, rope_layout=[1, 1, 1], sliding_window_layout=[0, 0, 0], sliding_window_size=4096,
        moe_num_primary_experts=6, moe_num_active_primary_experts=2, moe_ffn_hidden_size=28,
        moe_primary_router_apply_softmax=True, tie_word_embeddings=False), "float32"),
    "pregated-top2-norm": (dict(
        PREGATED, num_hidden_layers=4, hidden_size=40, num_attention_heads=6, num_key_value_heads=2, head_dim=12,
        rope_theta=1e4, intermediate_size=36, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=18,
        norm_topk_prob=True, mlp_only_layers=[], tie_word_embeddings=True), "bfloat16"),
    "pregated-dense-layers": (dict(
        PREGATED, num_hidden_layers=5, hidden_size=32, num_attention_heads=4, num_key_value_heads=4, head_dim=8,
        rope_theta=1e4, intermediate_size=44, num_experts=6, num_experts_per_tok=4, moe_intermediate_size=14,
        norm_topk_prob=False, mlp_only_layers=[0, 2], tie_word_embeddings=False), "float16"),
}


def shapes(c):
    """Every tensor of the model and its shape."""
    out = {"model.embed_tokens.weight": [c["vocab_size"], c["hidden_size"]], "model.norm.weight": [c["hidden_size"]]}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    native, hidden = c["model_type"] != SMALLTHINKER["model_type"], c["hidden_size"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    for layer in range(c["num_hidden_layers"]):
        add = lambda name, *shape: out.__setitem__(f"model.layers.{layer}.{name}.weight", list(shape))
        for name in ("input_layernorm", "post_attention_layernorm"):
            add(name, hidden)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            add(f"self_attn.{name}_proj", rows, hidden)
        add("self_attn.o_proj", hidden, q)
        if native:
            add("self_attn.q_norm", c["head_dim"]), add("self_attn.k_norm", c["head_dim"])
        dense = layer in c.get("mlp_only_layers", [])
        width = c["intermediate_size"] if dense else c.get("moe_intermediate_size", c.get("moe_ffn_hidden_size"))
        stem, suffix = ("mlp.", "_proj") if native else ("block_sparse_moe.", "")
        experts = c.get("num_experts", c.get("moe_num_primary_experts"))
        if not dense:
            add(stem + ("gate" if native else "primary_router"), experts, hidden)
        for expert in [""] if dense else [f"experts.{e}." for e in range(experts)]:
            add(f"{stem}{expert}gate{suffix}", width, hidden), add(f"{stem}{expert}up{suffix}", width, hidden)
            add(f"{stem}{expert}down{suffix}", hidden, width)
    return out


def weights(c, generator, dtype):
    """As make_fixtures.init_weights; routers that read an unnormed stream are drawn as wide as the others."""
    tensors = {}
    for name, shape in shapes(c).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        if len(shape) == 1:
            tensor = 1.0 + 0.2 * noise
        elif "embed_tokens" in name:
            tensor = noise * (0.2 if c["tie_word_embeddings"] else 1.0)
        elif name.endswith((".gate.weight", "primary_router.weight")) and "experts" not in name:
            tensor = noise * 1.5 / shape[-1] ** 0.5
        else:
            tensor = noise * 1.2 / shape[-1] ** 0.5
        tensors[name] = tensor.to(dtype)
    return tensors


def write_json(directory, name, fields):
    with open(os.path.join(directory, name), "w") as file:
        json.dump(fields, file, indent=2)
        file.write("\n")


def make(name, out_dir):
    fields, dtype = CASES[name]
    config = {**make_fixtures.BASE, **fields, "torch_dtype": dtype}
    directory = os.path.join(out_dir, name)
    first_seed = 5000 + 100 * list(CASES).index(name)
    for seed in range(first_seed, first_seed + make_fixtures.MAX_SEEDS):
        tensors = weights(config, torch.Generator().manual_seed(seed), getattr(torch, dtype))
        answers, distinct, lead = make_fixtures.golden(numpy_reference.Reference(config, tensors), seed)
        if distinct >= make_fixtures.MIN_DISTINCT and lead > make_fixtures.MIN_LEAD:
            break
    else:
        raise RuntimeError(f"{name}: no seed of {make_fixtures.MAX_SEEDS} gives a varied greedy text")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    write_json(directory, "config.json", config)
    write_json(directory, "generation_config.json", {"eos_token_id": [3, 5], "do_sample": True, "temperature": 0.7})
    save_file(tensors, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    save_file(answers, os.path.join(directory, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(directory, file)) for file in os.listdir(directory))
    assert size <= 1 << 20, f"{name}: {size} bytes"
    print(f"{name}: seed {seed}, {size} bytes, {distinct} distinct greedy tokens, smallest lead {lead:.2g}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    parser.add_argument("names", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or list(CASES):
        make(name, arguments.out_dir)


if __name__ == "__main__":
    main()
