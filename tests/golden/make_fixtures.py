#!/usr/bin/env python3
"""Makes the golden model fixtures: tiny random models in the stock Hugging Face layout, with the
logits and greedy tokens that the reference classes of transformers give in float32.

    python3 make_fixtures.py OUT_DIR [NAME ...]

Needs torch, transformers and safetensors. Fixed seeds: the same versions give the same files.
Each directory holds config.json, generation_config.json, the weights, and golden.safetensors:
  prompt.I.tokens  int32 [n]         prompt.I.logits  float32 [n, vocab]
  greedy.prompt    int32 [m]         greedy.tokens    int32 [64]
"""
import argparse
import json
import os
import shutil

import torch
import transformers
from safetensors.torch import save_file

GREEDY_TOKENS = 64
MAX_SEEDS = 40
MIN_DISTINCT = 12  # different tokens among the greedy ones
MIN_LEAD = 4e-4    # of the chosen token over the next, relative to the largest logit
PROMPT_LENGTHS = (1, 2, 17, 64, 200)
BASE = dict(vocab_size=96, num_hidden_layers=2, max_position_embeddings=512, eos_token_id=3, bos_token_id=1)

# name -> (architecture, config fields, options). Options: dtype of the file, shard bytes, fused
# expert tensors, old spelling of rope in config.json, seed.
CASES = {
    "mixtral-gqa-top2": ("Mixtral", dict(
        hidden_size=40, intermediate_size=28, num_attention_heads=6, num_key_value_heads=2, head_dim=10,
        num_local_experts=5, num_experts_per_tok=2, rope_theta=1e6), dict(dtype="bfloat16")),
    "mixtral-window-top1-tied": ("Mixtral", dict(
        hidden_size=36, intermediate_size=20, num_attention_heads=3, num_key_value_heads=3, num_local_experts=4,
        num_experts_per_tok=1, sliding_window=24, tie_word_embeddings=True, rms_norm_eps=1e-6),
        dict(dtype="float32", fused=True)),
    "olmoe-mha-top8": ("Olmoe", dict(
        hidden_size=48, intermediate_size=12, num_attention_heads=4, num_key_value_heads=4, num_experts=12,
        num_experts_per_tok=8, norm_topk_prob=False), dict(dtype="bfloat16")),
    "olmoe-gqa-top3-norm": ("Olmoe", dict(
        hidden_size=40, intermediate_size=18, num_attention_heads=10, num_key_value_heads=5, num_experts=7,
        num_experts_per_tok=3, norm_topk_prob=True, tie_word_embeddings=True, attention_bias=True),
        dict(dtype="float16", old_rope=True)),
    "qwen2-moe-shared-top4": ("Qwen2Moe", dict(
        hidden_size=48, intermediate_size=40, moe_intermediate_size=14, shared_expert_intermediate_size=26,
        num_attention_heads=4, num_key_value_heads=2, num_experts=9, num_experts_per_tok=4, norm_topk_prob=False),
        dict(dtype="bfloat16", shard_bytes=60_000)),
    "qwen2-moe-mixed-layers": ("Qwen2Moe", dict(
        num_hidden_layers=4, hidden_size=32, intermediate_size=44, moe_intermediate_size=20,
        shared_expert_intermediate_size=18, num_attention_heads=4, num_key_value_heads=1, num_experts=6,
        num_experts_per_tok=5, norm_topk_prob=True, decoder_sparse_step=2, qkv_bias=False, use_sliding_window=True,
        sliding_window=20, max_window_layers=3, tie_word_embeddings=True), dict(dtype="float32")),
    "qwen3-moe-top4-norm": ("Qwen3Moe", dict(
        hidden_size=40, intermediate_size=48, moe_intermediate_size=18, num_attention_heads=6, num_key_value_heads=2,
        head_dim=12, num_experts=8, num_experts_per_tok=4, norm_topk_prob=True, tie_word_embeddings=True),
        dict(dtype="bfloat16")),
    "qwen3-moe-dense-layers": ("Qwen3Moe", dict(
        num_hidden_layers=4, hidden_size=44, intermediate_size=30, moe_intermediate_size=10, num_attention_heads=4,
        num_key_value_heads=4, head_dim=8, num_experts=11, num_experts_per_tok=7, norm_topk_prob=False,
        mlp_only_layers=[0, 2], attention_bias=True, vocab_size=113), dict(dtype="float16", shard_bytes=70_000)),
    "qwen3-moe-yarn-fused": ("Qwen3Moe", dict(
        hidden_size=32, intermediate_size=48, moe_intermediate_size=22, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True,
        rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64)),
        dict(dtype="float32", fused=True)),
    "qwen3-dense-tied": ("Qwen3", dict(
        hidden_size=48, intermediate_size=72, num_attention_heads=4, num_key_value_heads=2, head_dim=20,
        tie_word_embeddings=True), dict(dtype="bfloat16", old_rope=True)),
    "qwen3-dense-llama3-rope": ("Qwen3", dict(
        num_hidden_layers=3, hidden_size=36, intermediate_size=50, num_attention_heads=5, num_key_value_heads=5,
        head_dim=14, use_sliding_window=True, sliding_window=32, max_window_layers=2,
        rope_parameters=dict(rope_type="llama3", rope_theta=5000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=128)), dict(dtype="float16")),
    "qwen3-dense-linear-rope": ("Qwen3", dict(
        hidden_size=40, intermediate_size=33, num_attention_heads=4, num_key_value_heads=1, head_dim=6,
        hidden_act="gelu_pytorch_tanh",
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5)), dict(dtype="float32")),
}


def init_weights(model, generator):
    """Wider than the default, so that logits, router scores and norms are far from flat."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        if name.endswith("norm.weight"):
            parameter.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.3 * noise
        elif "embed_tokens" in name:
            # A tied model with large embeddings would only repeat its last token.
            parameter.data = noise * (0.2 if model.config.tie_word_embeddings else 1.0)
        elif ".gate.weight" in name:
            parameter.data = noise * 1.5 / parameter.shape[-1] ** 0.5
        else:
            parameter.data = noise * 1.2 / parameter.shape[-1] ** 0.5


def reference_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float()


def greedy(model, prompt):
    """Greedy continuation by whole recomputation, with the smallest lead of a chosen token."""
    tokens, lead = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        logits = reference_logits(model, tokens)[-1]
        best = torch.topk(logits, 2)
        lead = min(lead, float(best.values[0] - best.values[1]) / float(logits.abs().max()))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt):], lead


def rewrite_rope_the_old_way(path):
    """The spelling of files made before transformers 5."""
    with open(path) as file:
        config = json.load(file)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    with open(path, "w") as file:
        json.dump(config, file, indent=2)


def save_model(architecture, fields, options, seed, directory):
    config_class = getattr(transformers, architecture + "Config")
    model_class = getattr(transformers, architecture + "ForCausalLM")
    model = model_class(config_class(**{**BASE, **fields}))
    init_weights(model, torch.Generator().manual_seed(seed))
    model.tie_weights()
    model.generation_config.eos_token_id = [3, 5]
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.7
    model.generation_config.top_k = 20
    model.generation_config.top_p = 0.8
    model = model.to(getattr(torch, options["dtype"]))
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory, save_original_format=not options.get("fused", False),
                          max_shard_size=options.get("shard_bytes", 10_000_000))
    if options.get("old_rope"):
        rewrite_rope_the_old_way(os.path.join(directory, "config.json"))
    return model_class.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager",
                                       experts_implementation="eager").eval()


def golden(model, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    tensors = {}
    for i, length in enumerate(PROMPT_LENGTHS):
        tokens = torch.randint(0, model.config.vocab_size, (length,), generator=generator)
        tensors[f"prompt.{i}.tokens"] = tokens.to(torch.int32)
        tensors[f"prompt.{i}.logits"] = reference_logits(model, tokens.tolist()).contiguous()
    prompt = tensors["prompt.2.tokens"].tolist()
    tokens, lead = greedy(model, prompt)
    tensors["greedy.prompt"] = torch.tensor(prompt, dtype=torch.int32)
    tensors["greedy.tokens"] = torch.tensor(tokens, dtype=torch.int32)
    return tensors, len(set(tokens)), lead


def make(name, out_dir):
    architecture, fields, options = CASES[name]
    directory = os.path.join(out_dir, name)
    first_seed = 100 * (1 + list(CASES).index(name))
    for seed in range(first_seed, first_seed + MAX_SEEDS):
        model = save_model(architecture, fields, options, seed, directory)
        tensors, distinct, lead = golden(model, seed)
        # A seed is taken when the greedy text varies and no choice is close to a tie.
        if distinct >= MIN_DISTINCT and lead > MIN_LEAD:
            break
    else:
        raise RuntimeError(f"{name}: no seed of {MAX_SEEDS} gives a varied greedy text")
    save_file(tensors, os.path.join(directory, "golden.safetensors"))
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
