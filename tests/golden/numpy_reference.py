"""Models that transformers has no class for, in NumPy and float64, from their published descriptions.

  smallthinker           SmallThinker technical report (arXiv 2507.20984): the router reads the residual stream before
                         attention; experts are down(relu(gate x) * up x); the chosen experts' logits are weighed by
                         their softmax, or by their sigmoids over the sum of those; rope and a window by layer.
  foregate_pregated_moe  Qwen3-MoE whose router reads the FFN input of the layer before, from the second layer on
                         (after Pre-gated MoE, arXiv 2308.12066).
  NextN layers           multi-token prediction of DeepSeek-V3 (arXiv 2412.19437, section 2.2) beside a Qwen3-MoE model:
                         eh_proj [enorm(embedding of the next token), hnorm(final normed hidden state)], a layer, shared_head.
"""
import types

import numpy as np


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def rotate(x, theta):
    """x [tokens, heads, dim]: the two halves of a head are the parts of its complex numbers."""
    half = x.shape[-1] // 2
    angle = np.outer(np.arange(len(x)), theta ** (-np.arange(half) / half))[:, None, :]
    low, high = x[..., :half], x[..., half:]
    return np.concatenate([low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)], -1)


class Reference:
    """Called like a class of transformers: ids [1, tokens] -> .logits [1, tokens, vocab]."""

    def __init__(self, config, tensors):
        self.fields = config
        self.config = types.SimpleNamespace(**config)
        self.tensors = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        self.ahead = config["model_type"] == "foregate_pregated_moe"
        self.native = self.ahead or config["model_type"] == "qwen3_moe"

    def weight(self, layer, name):
        return self.tensors[f"model.layers.{layer}.{name}.weight"]

    def layout(self, key, layer, fallback):
        return self.fields[key][layer] if key in self.fields else fallback

    def attention(self, layer, x):
        c, tokens = self.config, len(x)
        q, k, v = ((x @ self.weight(layer, f"self_attn.{part}_proj").T).reshape(tokens, -1, c.head_dim) for part in "qkv")
        if self.native:
            q = rms_norm(q, self.weight(layer, "self_attn.q_norm"), c.rms_norm_eps)
            k = rms_norm(k, self.weight(layer, "self_attn.k_norm"), c.rms_norm_eps)
        if self.layout("rope_layout", layer, 1):
            q, k = rotate(q, c.rope_theta), rotate(k, c.rope_theta)
        distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
        seen = distance >= 0
        if self.layout("sliding_window_layout", layer, 0):
            seen &= distance < c.sliding_window_size
        out = np.empty_like(q)
        for head in range(q.shape[1]):
            group = head * k.shape[1] // q.shape[1]
            scores = np.where(seen, q[:, head] @ k[:, group].T / np.sqrt(c.head_dim), -np.inf)
            out[:, head] = softmax(scores) @ v[:, group]
        return out.reshape(tokens, -1) @ self.weight(layer, "self_attn.o_proj").T

    def route(self, layer, x):
        """ids and weights [tokens, k] of the layer's router on x."""
        if self.native:
            scores, k = softmax(x @ self.weight(layer, "mlp.gate").T), self.config.num_experts_per_tok
        else:
            scores, k = x @ self.weight(layer, "block_sparse_moe.primary_router").T, self.config.moe_num_active_primary_experts
        ids = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
        chosen = np.take_along_axis(scores, ids, -1)
        if not self.native:
            chosen = softmax(chosen) if self.fields.get("moe_primary_router_apply_softmax") else sigmoid(chosen)
        if not self.native or self.config.norm_topk_prob:
            chosen = chosen / chosen.sum(-1, keepdims=True)
        return ids, chosen

    def expert(self, layer, number, x):
        if not self.native:
            part = lambda name: self.weight(layer, f"block_sparse_moe.experts.{number}.{name}")
            return (np.maximum(x @ part("gate").T, 0) * (x @ part("up").T)) @ part("down").T
        return self.silu_ffn(layer, f"mlp.experts.{number}.", x)

    def silu_ffn(self, layer, stem, x):
        gate, up, down = (self.weight(layer, f"{stem}{name}_proj") for name in ("gate", "up", "down"))
        gated = x @ gate.T
        return (gated * sigmoid(gated) * (x @ up.T)) @ down.T

    def ffn(self, layer, x, router_input):
        if layer in self.fields.get("mlp_only_layers", []):
            return self.silu_ffn(layer, "mlp.", x)
        ids, weights = self.route(layer, router_input)
        out = np.zeros_like(x)
        for number in np.unique(ids):
            rows, slots = np.nonzero(ids == number)
            out[rows] += weights[rows, slots, None] * self.expert(layer, number, x[rows])
        return out

    def layer(self, layer, hidden, previous):
        """The residual stream after the layer, and its FFN input, which a pre-gated layer behind it routes by."""
        c, before = self.config, hidden
        hidden = hidden + self.attention(layer, rms_norm(hidden, self.weight(layer, "input_layernorm"), c.rms_norm_eps))
        x = rms_norm(hidden, self.weight(layer, "post_attention_layernorm"), c.rms_norm_eps)
        source = before if not self.native else x if previous is None or not self.ahead else previous
        return hidden + self.ffn(layer, x, source), x

    def head(self):
        return self.tensors["model.embed_tokens.weight" if self.config.tie_word_embeddings else "lm_head.weight"]

    def states(self, tokens):
        """What the lm head reads, [tokens, hidden]."""
        hidden, previous = self.tensors["model.embed_tokens.weight"][tokens], None
        for layer in range(self.config.num_hidden_layers):
            hidden, previous = self.layer(layer, hidden, previous)
        return rms_norm(hidden, self.tensors["model.norm.weight"], self.config.rms_norm_eps)

    def logits(self, tokens):
        return self.states(tokens) @ self.head().T

    def nextn(self, tokens, before):
        """Logits of the first NextN layer for tokens and the states of the rows before them, and its states, not normed."""
        layer, eps = self.config.num_hidden_layers, self.config.rms_norm_eps
        own = lambda name, shared: self.tensors.get(f"model.layers.{layer}.{name}.weight", shared)
        embedded = own("embed_tokens", self.tensors["model.embed_tokens.weight"])[tokens]
        joined = np.concatenate([rms_norm(embedded, self.weight(layer, "enorm"), eps),
                                 rms_norm(before, self.weight(layer, "hnorm"), eps)], -1) @ self.weight(layer, "eh_proj").T
        states, _ = self.layer(layer, joined, None)
        normed = rms_norm(states, self.weight(layer, "shared_head.norm"), eps)
        return normed @ own("shared_head.head", self.head()).T, states

    def nextn_draft(self, tokens, count):
        """`count` greedy tokens after `tokens`, each from the layer's own states, and the smallest relative lead."""
        before, drafted, lead = list(self.states(tokens)[:-1]), [], float("inf")
        for _ in range(count):
            logits, states = self.nextn(np.array([*tokens[1:], *drafted]), np.array(before))
            low, high = np.sort(logits[-1])[-2:]
            lead = min(lead, (high - low) / np.abs(logits[-1]).max())
            drafted.append(int(np.argmax(logits[-1])))
            before.append(states[-1])
        return drafted, lead

    def __call__(self, ids):
        import torch  # the callers' type
        return types.SimpleNamespace(logits=torch.from_numpy(self.logits(ids[0].numpy()))[None])
