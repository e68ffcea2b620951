"""The network in plain torch, written for training speed; parameter meaning equals Hugging Face Qwen3 and Qwen3-MoE.

`experts == 0` makes the dense Qwen3 block (the draft model). Expert weights are stacked per layer so that one matmul per
expert serves all its tokens of the batch; export.py splits them into the per-expert names of the stock format.
`pregated` makes the twin whose routers read the gate input of the layer before (Pre-gated MoE, arXiv 2308.12066): a layer's
experts are known before its attention begins. Layer 0 has no layer before it and routes by its own gate input.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    """Sizes; `inter` is the inner width of one expert (or of the dense FFN)."""
    vocab: int = 4096
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    inter: int = 128
    experts: int = 16
    top_k: int = 2
    max_positions: int = 2048
    rope_theta: float = 10000.0
    eps: float = 1e-6
    pregated: bool = False


PRESETS = {
    "main": Config(),
    "pregated": Config(pregated=True),
    "draft": Config(hidden=128, layers=2, heads=4, kv_heads=1, inter=256, experts=0, top_k=0),
    "tiny": Config(hidden=64, layers=2, heads=2, kv_heads=1, inter=32, experts=4),
}


class TiedHeadLoss(torch.autograd.Function):
    """Mean cross entropy of x @ weight.T against targets, in chunks of rows: the logits are never held whole."""

    @staticmethod
    def forward(ctx, x, weight, targets, chunk=512):
        """x [rows, hidden], weight [vocab, hidden], targets [rows]; gradients are made here, while a chunk is in cache."""
        grad_x, grad_w, total = torch.empty_like(x), torch.zeros_like(weight), 0.0
        for at in range(0, len(x), chunk):
            rows, ids = x[at:at + chunk], targets[at:at + chunk, None]
            probs = rows @ weight.T
            picked = probs.gather(1, ids)
            top = probs.amax(1, keepdim=True)
            probs.sub_(top).exp_()
            norm = probs.sum(1, keepdim=True)
            total = total + (norm.log() + top - picked).sum()
            probs.div_(norm).scatter_add_(1, ids, torch.full_like(picked, -1.0))
            torch.mm(probs, weight, out=grad_x[at:at + chunk])
            grad_w.addmm_(probs.T, rows)
        ctx.save_for_backward(grad_x.div_(len(x)), grad_w.div_(len(x)))
        return total / len(x)

    @staticmethod
    def backward(ctx, grad):
        grad_x, grad_w = ctx.saved_tensors
        return grad_x * grad, grad_w * grad, None


class RMSNorm(nn.Module):
    """y = x / rms(x) * weight over the last axis."""

    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_tables(config, length, device):
    """cos and sin, [length, head_dim], in the rotate-half layout."""
    steps = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), config.rope_theta ** -steps)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Apply RoPE to x [batch, heads, length, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention with per-head RMS norm of queries and keys, no biases."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.q_norm = RMSNorm(c.head_dim, c.eps)
        self.k_norm = RMSNorm(c.head_dim, c.eps)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        split = (batch, length, -1, self.c.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(split)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).view(split)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(split).transpose(1, 2)
        groups = self.c.heads // self.c.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class DenseFfn(nn.Module):
    """down(silu(gate(x)) * up(x)); same arguments and return type as MoeFfn with no routing and no auxiliary loss."""

    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.inter, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.inter, bias=False)
        self.down_proj = nn.Linear(c.inter, c.hidden, bias=False)

    def forward(self, x, _gate_input):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)), x.new_zeros(())


class MoeFfn(nn.Module):
    """Top-k experts per token; softmax over all experts, the chosen weights renormalised to sum 1."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.gate = nn.Linear(c.hidden, c.experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(c.experts, 2 * c.inter, c.hidden))
        self.down = nn.Parameter(torch.empty(c.experts, c.hidden, c.inter))
        self.gate_up.matrix_shape = (2 * c.experts, c.inter, c.hidden)

    def route(self, flat):
        """flat [tokens, hidden] -> weights and expert ids [tokens, k], and the load-balancing loss (1 when even)."""
        with torch.autocast(flat.device.type, enabled=False):
            probs = F.softmax(F.linear(flat.float(), self.gate.weight.float()), dim=-1)
        top, ids = probs.topk(self.c.top_k, dim=-1)
        share = torch.zeros_like(probs[0]).scatter_add_(0, ids.flatten(), torch.ones_like(top).flatten()) / ids.numel()
        return top / top.sum(-1, keepdim=True), ids, self.c.experts * (share * probs.mean(0)).sum()

    def forward(self, x, gate_input):
        """Experts chosen and weighed by `gate_input`, applied to x; both [..., hidden]."""
        flat = x.reshape(-1, x.shape[-1])
        weights, ids, balance = self.route(gate_input.reshape(flat.shape))
        order = ids.flatten().argsort(stable=True)
        token = order // self.c.top_k
        counts = torch.bincount(ids.flatten(), minlength=self.c.experts).tolist()
        outs = []
        for rows, gate_up, down in zip(flat.index_select(0, token).split(counts), self.gate_up.unbind(), self.down.unbind()):
            gate, up = F.linear(rows, gate_up).chunk(2, dim=-1)
            outs.append(F.linear(F.silu(gate) * up, down))
        scaled = torch.cat(outs) * weights.flatten().index_select(0, order).unsqueeze(-1).to(outs[0].dtype)
        out = torch.zeros_like(flat, dtype=scaled.dtype).index_add_(0, token, scaled)
        return out.view(x.shape), balance


class Block(nn.Module):
    """Pre-norm attention and FFN with residuals."""

    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden, c.eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden, c.eps)
        self.mlp = MoeFfn(c) if c.experts else DenseFfn(c)

    def forward(self, x, cos, sin, gate_input):
        """`gate_input`: what the router reads, None for the FFN's own input. Returns also this layer's FFN input."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        normed = self.post_attention_layernorm(x)
        out, balance = self.mlp(normed, normed if gate_input is None else gate_input)
        return x + out, balance, normed


class Model(nn.Module):
    """Decoder with tied input and output embeddings."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.eps)
        self.init_weights()

    def init_weights(self):
        """Normal(0, 0.02); matrices that write into the residual stream scaled down by depth."""
        depth_scale = (2 * self.config.layers) ** -0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes = name.endswith(("o_proj.weight", "down_proj.weight", "down"))
                std = self.config.hidden ** -0.5 if not name.startswith("embed") else 0.02
                nn.init.normal_(weight, std=std * (depth_scale if writes else 1.0))

    def forward(self, ids):
        """ids [batch, length] -> logits [batch, length, vocab]."""
        return F.linear(self.hidden_states(ids)[0], self.embed_tokens.weight)

    def loss(self, ids, targets):
        """Mean cross entropy in nats per token, and the mean load-balancing loss of the layers."""
        hidden, balance = self.hidden_states(ids)
        return TiedHeadLoss.apply(hidden.flatten(0, 1).float(), self.embed_tokens.weight, targets.flatten()), balance

    def hidden_states(self, ids):
        """Final normed states [batch, length, hidden] and the load-balancing loss (1 when experts are used evenly)."""
        x = self.embed_tokens(ids)
        cos, sin = rope_tables(self.config, ids.shape[1], ids.device)
        balance, before = 0.0, None
        for layer in self.layers:
            x, layer_balance, normed = layer(x, cos, sin, before)
            before = normed if self.config.pregated else None
            balance = balance + layer_balance / len(self.layers)
        return self.norm(x), balance
