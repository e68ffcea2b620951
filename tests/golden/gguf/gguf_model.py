"""A Hugging Face model directory as a GGUF file, by the names and rules of llama.cpp's converter: experts stacked per
layer, and for "llama" the rows of q and k reordered into rope pairs."""
import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors import safe_open

ARCHITECTURES = {"MixtralForCausalLM": "llama", "OlmoeForCausalLM": "olmoe", "Qwen2MoeForCausalLM": "qwen2moe",
                 "Qwen3MoeForCausalLM": "qwen3moe", "Qwen3ForCausalLM": "qwen3", "SmallThinkerForCausalLM": "smallthinker",
                 "ForegatePreGatedMoeForCausalLM": "foregate_pregated_moe"}
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0, "q4_1": gguf.GGMLQuantizationType.Q4_1,
         "q5_0": gguf.GGMLQuantizationType.Q5_0}
TORCH_TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
LAYER = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate": "ffn_gate_inp",
         "block_sparse_moe.gate": "ffn_gate_inp",
         "block_sparse_moe.primary_router": "ffn_gate_inp", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
         "mlp.shared_expert.up_proj": "ffn_up_shexp", "mlp.shared_expert.down_proj": "ffn_down_shexp",
         "mlp.shared_expert_gate": "ffn_gate_inp_shexp"}
EXPERT = {"gate": "gate", "up": "up", "down": "down", "gate_proj": "gate", "w1": "gate", "up_proj": "up", "w3": "up", "down_proj": "down", "w2": "down"}


def read_tensors(directory):
    tensors = {}
    for path in sorted(directory.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    return tensors


def to_rope_pairs(weight, heads):
    """Rows 0, d/2, 1, d/2 + 1, ... of each head."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).transpose(1, 2).reshape(weight.shape)


def layer_tensors(prefix, rest, tensor, config, arch, stacks):
    """GGUF names and tensors of one tensor of a layer; parts of experts are collected in `stacks` first."""
    module, kind = rest.rsplit(".", 1) if rest.endswith((".weight", ".bias")) else (rest, "weight")
    if module in LAYER:
        name = LAYER[module]
        heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(name)
        if arch == "llama" and heads:
            tensor = to_rope_pairs(tensor, heads)
        return [(f"{prefix}.{name}.{kind}", tensor.squeeze() if name == "ffn_gate_inp_shexp" else tensor)]
    parts = module.split(".")
    if module.endswith("experts.gate_up_proj"):
        gate, up = tensor.chunk(2, dim=1)
        return [(f"{prefix}.ffn_gate_exps.weight", gate), (f"{prefix}.ffn_up_exps.weight", up)]
    if module.endswith("experts.down_proj"):
        return [(f"{prefix}.ffn_down_exps.weight", tensor)]
    assert parts[-3] == "experts", rest
    stack = stacks.setdefault(f"{prefix}.ffn_{EXPERT[parts[-1]]}_exps.weight", {})
    stack[int(parts[-2])] = tensor
    return []


def gguf_tensors(directory, config, arch):
    stacks = {}
    for name, tensor in read_tensors(directory).items():
        if name in OUTSIDE:
            yield OUTSIDE[name], tensor
            continue
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        yield from layer_tensors(f"blk.{layer}", rest, tensor, config, arch, stacks)
    for name, experts in stacks.items():
        yield name, torch.stack([experts[i] for i in sorted(experts)])


def add_rope(writer, rope, config):
    kind = rope.get("rope_type", "default")
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    assert kind in ("default", "linear", "yarn"), kind


def add_smallthinker(writer, config):
    """A file with a window means that every fourth layer has neither it nor rope."""
    kinds = gguf.ExpertGatingFuncType
    writer.add_expert_gating_func(kinds.SOFTMAX if config.get("moe_primary_router_apply_softmax") else kinds.SIGMOID)
    layers = range(config["num_hidden_layers"])
    windowed = any(config["sliding_window_layout"])
    assert config["sliding_window_layout"] == [int(windowed and i % 4 != 0) for i in layers]
    assert config["rope_layout"] == [int(not windowed or i % 4 != 0) for i in layers]
    if windowed:
        writer.add_sliding_window(config["sliding_window_size"])


def add_config(writer, config, arch):
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    width = config.get("moe_intermediate_size", config.get("moe_ffn_hidden_size"))
    writer.add_feed_forward_length(config.get("intermediate_size", width))
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_rope(writer, config.get("rope_parameters") or config.get("rope_scaling") or {}, config)
    experts = config.get("num_local_experts", config.get("num_experts", config.get("moe_num_primary_experts")))
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.get("num_experts_per_tok", config.get("moe_num_active_primary_experts")))
    if width:
        writer.add_expert_feed_forward_length(width)
    if arch == "smallthinker":
        add_smallthinker(writer, config)
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    # llama.cpp's converter leaves these two out where they are what its graphs compute anyhow.
    normalizes = arch in ("qwen3moe", "foregate_pregated_moe")
    if "norm_topk_prob" in config and arch != "smallthinker" and config["norm_topk_prob"] != normalizes:
        writer.add_expert_weights_norm(config["norm_topk_prob"])
    if config.get("sliding_window") and config.get("use_sliding_window", arch == "llama"):
        writer.add_sliding_window(config["sliding_window"])


def add_generation(writer, directory):
    path = directory / "generation_config.json"
    if not path.exists():
        return None
    generation = json.loads(path.read_text())
    for key, add in (("temperature", writer.add_sampling_temp), ("top_k", writer.add_sampling_top_k),
                     ("top_p", writer.add_sampling_top_p)):
        if key in generation:
            add(generation[key])
    eos = generation.get("eos_token_id")
    return eos if isinstance(eos, list) else [eos]


def stored(name, tensor, kind):
    """The tensor's type in the file: vectors and routers as f32, rows that do not fill blocks as f16."""
    if tensor.dim() == 1 or ".ffn_gate_inp" in name:
        return "f32"
    kind = kind or TORCH_TYPES[tensor.dtype]
    block, _ = gguf.GGML_QUANT_SIZES[TYPES[kind]]
    return kind if tensor.shape[-1] % block == 0 else "f16"


def add_tensors(writer, directory, config, arch, kind):
    for name, tensor in gguf_tensors(directory, config, arch):
        target = TYPES[stored(name, tensor, kind)]
        data = gguf.quants.quantize(np.ascontiguousarray(tensor.float().numpy()), target)
        writer.add_tensor(name, data, raw_dtype=target)


def write_model(directory, out, kind=None, add_text=None, split=0):
    """`kind` is the type of matrices; None: as in the directory. `split`: most tensors per file."""
    directory = pathlib.Path(directory)
    config = json.loads((directory / "config.json").read_text())
    arch = ARCHITECTURES[config["architectures"][0]]
    writer = gguf.GGUFWriter(out, arch, split_max_tensors=split)
    add_config(writer, config, arch)
    eos = add_generation(writer, directory)
    if add_text:
        add_text(writer)
    elif eos:
        writer.add_eos_token_id(eos[0])
        if len(eos) > 1:
            writer.add_eot_token_id(eos[1])
    add_tensors(writer, directory, config, arch, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
