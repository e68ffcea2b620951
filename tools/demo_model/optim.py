"""Muon for the matrices, AdamW for embeddings, norms and routers, and the warm-up / stable / decay schedule."""
import torch


def orthogonalize(g, steps=5):
    """Newton-Schulz iteration on [..., rows, cols]: the nearest semi-orthogonal matrix, roughly (Jordan et al., Muon)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.mT if g.shape[-2] > g.shape[-1] else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if g.shape[-2] > g.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """Momentum, then an orthogonalized update of RMS about 0.2, so that the AdamW learning rate fits both."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:  # matrix_shape: gate and up stacked in one parameter are two matrices
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                gradient = p.grad.lerp(buffer, group["momentum"]).view(getattr(p, "matrix_shape", p.shape))
                update = orthogonalize(gradient).reshape(p.shape)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(gradient.shape[-2:]) ** 0.5)


def make_optimizers(model, lr):
    """Muon for every attention and FFN matrix (stacked experts as a batch); AdamW for the rest."""
    matrices, others = [], []
    for name, p in model.named_parameters():
        muon = p.dim() >= 2 and not name.startswith("embed") and not name.endswith("mlp.gate.weight")
        (matrices if muon else others).append(p)
    return [Muon(matrices, lr), torch.optim.AdamW(others, lr, betas=(0.9, 0.95), weight_decay=0.0)]


def schedule(step, warmup, decay_from, decay_steps):
    """Factor on the learning rate: linear warm-up, constant, then linear to 0 over decay_steps from decay_from on."""
    factor = min(1.0, (step + 1) / warmup)
    if decay_from is not None and step >= decay_from:
        factor *= max(0.0, 1.0 - (step - decay_from) / decay_steps)
    return factor
