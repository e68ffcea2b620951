#!/usr/bin/env python3
"""Writes the seeds of the GGUF fuzz target: models of a few kB, one per architecture, with small vocabularies.

    python3 make_fuzz_corpus.py OUT_DIR

Needs gguf and numpy. Fixed seeds: the same files each time.
"""
import pathlib
import sys

import gguf
import gguf_model
import numpy as np

HIDDEN, WIDTH, HEAD, HEADS, KV_HEADS, EXPERTS, VOCAB = 32, 32, 8, 4, 2, 2, 24
CONFIG = {"max_position_embeddings": 64, "hidden_size": HIDDEN, "num_hidden_layers": 1, "intermediate_size": WIDTH,
          "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0}
MOE = {"num_experts": EXPERTS, "num_experts_per_tok": 1}


def tensors(arch):
    """Names and shapes of one layer, and what lies outside of it."""
    q, kv = HEADS * HEAD, KV_HEADS * HEAD
    yield "token_embd.weight", (VOCAB, HIDDEN)
    yield "output_norm.weight", (HIDDEN,)
    layer = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "attn_q": (q, HIDDEN), "attn_k": (kv, HIDDEN),
             "attn_v": (kv, HIDDEN), "attn_output": (HIDDEN, q)}
    if arch == "olmoe":
        layer.update(attn_q_norm=(q,), attn_k_norm=(kv,))
    if arch.startswith("qwen3"):
        layer.update(attn_q_norm=(HEAD,), attn_k_norm=(HEAD,))
    if arch == "qwen3":
        layer.update(ffn_gate=(WIDTH, HIDDEN), ffn_up=(WIDTH, HIDDEN), ffn_down=(HIDDEN, WIDTH))
    else:
        layer.update(ffn_gate_inp=(EXPERTS, HIDDEN), ffn_gate_exps=(EXPERTS, WIDTH, HIDDEN),
                     ffn_up_exps=(EXPERTS, WIDTH, HIDDEN), ffn_down_exps=(EXPERTS, HIDDEN, WIDTH))
    if arch == "qwen2moe":
        layer.update(ffn_gate_shexp=(WIDTH, HIDDEN), ffn_up_shexp=(WIDTH, HIDDEN), ffn_down_shexp=(HIDDEN, WIDTH),
                     ffn_gate_inp_shexp=(HIDDEN,))
    for name, shape in layer.items():
        yield f"blk.0.{name}.weight", shape


def add_byte_level_text(writer):
    texts = ["<|endoftext|>", "<|im_end|>", "a", "b", "c", "d", "ab", "abc", "\u0120", "\u0120a", "1", "2", "!", "  "]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts + [f"[PAD{i}]" for i in range(len(texts), VOCAB)])
    writer.add_token_types([3, 3] + [1] * 11 + [4] + [5] * (VOCAB - len(texts)))
    writer.add_token_merges(["a b", "ab c", "\u0120 a"])
    writer.add_eos_token_id(0)
    writer.add_eot_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}")


def add_pieces(writer):
    texts = ["<unk>", "<s>", "</s>", "<0x0A>", "<0x41>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab", "abb"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts + [f"[PAD{i}]" for i in range(len(texts), VOCAB)])
    writer.add_token_types([2, 3, 3, 6, 6] + [1] * 7 + [5] * (VOCAB - len(texts)))
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_add_space_prefix(True)


def write(arch, out, seed):
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(out, arch)
    gguf_model.add_config(writer, {**CONFIG, **({} if arch == "qwen3" else MOE)}, arch)
    if arch in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(WIDTH)
    (add_pieces if arch == "llama" else add_byte_level_text)(writer)
    for name, shape in tensors(arch):
        kind = "f32" if len(shape) == 1 or "gate_inp" in name else {"olmoe": "q4_0", "llama": "f16"}.get(arch, "q8_0")
        data = gguf.quants.quantize(rng.standard_normal(shape, dtype=np.float32), gguf_model.TYPES[kind])
        writer.add_tensor(name, data, raw_dtype=gguf_model.TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for seed, arch in enumerate(sorted(gguf_model.ARCHITECTURES.values())):
        write(arch, out / f"{arch}.gguf", seed)
        print(arch, (out / f"{arch}.gguf").stat().st_size)


if __name__ == "__main__":
    main()
