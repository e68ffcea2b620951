#!/usr/bin/env python3
"""Makes the fixtures of NextN layers: tiny random Qwen3-MoE models with one, and what numpy_reference.py computes of it.

    python3 make_nextn_fixtures.py OUT_DIR

Beside the model, golden.safetensors holds for each prompt its tokens, the logits of the NextN layer (row i reads the state
of position i and token i + 1) and a greedy draft that goes on from its own states.
"""
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import make_fixtures
import make_numpy_fixtures
import numpy_reference

DRAFT = 4
LENGTHS = (2, 17, 40)
QWEN3 = dict(make_fixtures.BASE, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", rms_norm_eps=1e-6, hidden_act="silu",
             attention_bias=False, decoder_sparse_step=1, use_sliding_window=False, rope_theta=1e4, num_nextn_predict_layers=1)

# name -> (config fields, type of the file, whether the layer has a table and a head of its own)
CASES = {
    "sparse-shared-head": (dict(
        QWEN3, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=12, intermediate_size=36, num_experts=6,
        num_experts_per_tok=2, moe_intermediate_size=14, norm_topk_prob=True, mlp_only_layers=[], tie_word_embeddings=True),
        "bfloat16", False),
    "dense-own-head": (dict(
        QWEN3, hidden_size=40, num_attention_heads=5, num_key_value_heads=5, head_dim=8, intermediate_size=44, num_experts=5,
        num_experts_per_tok=3, moe_intermediate_size=10, norm_topk_prob=False, mlp_only_layers=[2], tie_word_embeddings=False),
        "float32", True),
}


def weights(config, own_head, seed, dtype):
    """As make_numpy_fixtures.weights, with one layer more and what belongs to it."""
    generator, layer = torch.Generator().manual_seed(seed), config["num_hidden_layers"]
    tensors = make_numpy_fixtures.weights({**config, "num_hidden_layers": layer + 1}, generator, dtype)
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    shapes = {"enorm": [hidden], "hnorm": [hidden], "shared_head.norm": [hidden], "eh_proj": [hidden, 2 * hidden]}
    if own_head:
        shapes.update({"embed_tokens": [vocab, hidden], "shared_head.head": [vocab, hidden]})
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        tensor = 1.0 + 0.2 * noise if len(shape) == 1 else noise if name == "embed_tokens" else noise * 1.2 / shape[-1] ** 0.5
        tensors[f"model.layers.{layer}.{name}.weight"] = tensor.to(dtype)
    return tensors


def answers_of(reference, seed):
    """The golden tensors, and the smallest lead of a drafted token."""
    rng, out, lead = np.random.default_rng(seed), {}, float("inf")
    for number, length in enumerate(LENGTHS):
        tokens = rng.integers(6, reference.config.vocab_size, length)
        logits, _ = reference.nextn(tokens[1:], reference.states(tokens)[:-1])
        drafted, drafted_lead = reference.nextn_draft(tokens, DRAFT)
        lead = min(lead, drafted_lead)
        out[f"prompt.{number}.tokens"] = torch.tensor(tokens, dtype=torch.int32)
        out[f"prompt.{number}.logits"] = torch.tensor(logits, dtype=torch.float32)
        out[f"prompt.{number}.draft"] = torch.tensor(drafted, dtype=torch.int32)
    return out, lead


def main():
    for name, (config, dtype, own_head) in CASES.items():
        for seed in range(7000, 7000 + make_fixtures.MAX_SEEDS):
            tensors = weights(config, own_head, seed, getattr(torch, dtype))
            answers, lead = answers_of(numpy_reference.Reference(config, tensors), seed)
            if lead > 10 * make_fixtures.MIN_LEAD:
                break
        else:
            raise RuntimeError(f"{name}: no seed gives drafts that rounding cannot change")
        directory = os.path.join(sys.argv[1], name)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        make_numpy_fixtures.write_json(directory, "config.json", {**config, "torch_dtype": dtype})
        save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(directory, "model.safetensors"),
                  metadata={"format": "pt"})
        save_file(answers, os.path.join(directory, "golden.safetensors"))
        size = sum(os.path.getsize(os.path.join(directory, file)) for file in os.listdir(directory))
        print(f"{name}: seed {seed}, {size} bytes, smallest lead {lead:.2g}")


if __name__ == "__main__":
    main()
