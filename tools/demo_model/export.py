"""Checkpoint -> Hugging Face directory (Qwen3-MoE, Qwen3 for the dense draft, the twin's own class), weights rounded to bf16.

    python export.py --checkpoint RUN/final.pt --tokenizer DATA/tokenizer --out models/demo
"""
import argparse
import json
import pathlib
import shutil

import safetensors.torch
import tokenizers
import torch


def split_experts(name, tensor):
    """gate_up [E, 2I, H] and down [E, H, I] of one layer -> per-expert (name, matrix) pairs; other tensors unchanged."""
    prefix, last = name.rsplit(".", 1)
    if last not in ("gate_up", "down"):
        return [(name, tensor)]
    pairs = []
    for expert, matrix in enumerate(tensor):
        parts = zip(("gate_proj", "up_proj"), matrix.chunk(2)) if last == "gate_up" else [("down_proj", matrix)]
        pairs += [(f"{prefix}.experts.{expert}.{part}.weight", value) for part, value in parts]
    return pairs


def load_exported(model, folder):
    """Fill `model` from an exported directory: the way back of split_experts, bf16 widened to fp32."""
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    state = model.state_dict()
    for name, tensor in state.items():
        parts = [stored[key].float() for key, _ in split_experts("model." + name, tensor)]
        state[name] = torch.cat(parts).reshape(tensor.shape)
    model.load_state_dict(state)


PREGATED = ("ForegatePreGatedMoeForCausalLM", "foregate_pregated_moe")


def class_of(c):
    """(architectures[0], model_type); the pre-gated one is Foregate's own, its other fields and names are Qwen3-MoE's."""
    if c.get("pregated"):
        return PREGATED
    return ("Qwen3MoeForCausalLM", "qwen3_moe") if c["experts"] else ("Qwen3ForCausalLM", "qwen3")


def hf_config(c, tokenizer):
    """config.json for the sizes c (the checkpoint's dict) in the stock fields."""
    ids = {name: tokenizer.token_to_id(name) for name in ("<|endoftext|>", "<|im_end|>")}
    class_name, model_type = class_of(c)
    config = {"architectures": [class_name], "model_type": model_type, "vocab_size": c["vocab"], "hidden_size": c["hidden"],
              "num_hidden_layers": c["layers"], "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"],
              "head_dim": c["head_dim"], "max_position_embeddings": c["max_positions"], "rope_theta": c["rope_theta"],
              "rms_norm_eps": c["eps"], "hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0,
              "tie_word_embeddings": True, "use_cache": True, "use_sliding_window": False, "sliding_window": None,
              "initializer_range": 0.02, "torch_dtype": "bfloat16", "eos_token_id": ids["<|im_end|>"],
              "pad_token_id": ids["<|endoftext|>"], "bos_token_id": None,
              "intermediate_size": c["inter"] if not c["experts"] else c["inter"] * c["top_k"]}
    if c["experts"]:
        config.update({"num_experts": c["experts"], "num_experts_per_tok": c["top_k"], "moe_intermediate_size": c["inter"],
                       "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
                       "router_aux_loss_coef": 0.02, "output_router_logits": False})
    generation = {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]], "pad_token_id": ids["<|endoftext|>"],
                  "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    return config, generation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="folder written by prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    tensors = {}
    for name, tensor in state["model"].items():
        for key, value in split_experts("model." + name, tensor):
            tensors[key] = value.to(torch.bfloat16).contiguous().clone()
    safetensors.torch.save_file(dict(sorted(tensors.items())), args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)
    tokenizer = tokenizers.Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    for name, content in zip(("config.json", "generation_config.json"), hf_config(state["config"], tokenizer)):
        (args.out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(args.tokenizer / name, args.out / name)
    total = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"step {state['step']}, {state['tokens']} tokens seen, {len(tensors)} tensors, {total} bytes in {args.out}")


if __name__ == "__main__":
    main()
