"""Trains the demo model or its draft; resumes from the last checkpoint in --run.

    python train.py --preset main --data DATA --run RUN --steps 2400 --decay-steps 500

The learning rate warms up, stays, and falls linearly to 0 over the last --decay-steps. To end early from any checkpoint, run
again with --finish-in N (or --finish-minutes M): the fall begins at once. On a GPU the blocks run in bf16 autocast; weights are always fp32.
"""
import argparse
import json
import pathlib
import time

import torch

import corpus
import export
import model as network
import optim


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=network.PRESETS, default="main")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of log.jsonl and last.pt")
    parser.add_argument("--init", type=pathlib.Path, help="exported directory whose weights a new run starts from")
    parser.add_argument("--steps", type=int, default=2000, help="total optimizer steps")
    parser.add_argument("--decay-steps", type=int, default=400)
    parser.add_argument("--finish-in", type=int, help="decay from the resumed step on, over this many steps")
    parser.add_argument("--finish-minutes", type=float, help="as --finish-in, but by the clock: for a machine shared with others")
    parser.add_argument("--rows", type=int, default=24, help="sequences per step")
    parser.add_argument("--length", type=int, default=256, help="tokens per sequence")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--balance", type=float, default=0.02, help="weight of the load-balancing loss")
    parser.add_argument("--mix", default="stories=0.45,chats=0.33,books=0.22", help="share of rows per source")
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile for attention and norms (needs a C++ compiler)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def parse_mix(text):
    """'stories=0.5,books=0.5' -> dict."""
    return {name: float(share) for name, share in (part.split("=") for part in text.split(","))}


def save(path, model, optimizers, step, tokens):
    """Write the checkpoint beside the old one, then swap."""
    fresh = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "config": vars(model.config), "step": step, "tokens": tokens}, fresh)
    fresh.replace(path)


def resume(path, model, optimizers):
    """Returns (step, tokens) of the checkpoint, or zeros when there is none."""
    if not path.exists():
        return 0, 0
    state = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)
    return state["step"], state["tokens"]


def train_step(model, optimizers, batch, args, factor):
    """One optimizer step at lr * factor; returns (cross entropy in nats per token, load-balancing loss)."""
    device = next(model.parameters()).device
    inputs, targets = (part.to(device, non_blocking=True) for part in batch)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        loss, balance = model.loss(inputs, targets)
    (loss + args.balance * balance).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = args.lr * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item(), float(balance.detach())


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.compile:
        network.Attention.forward = torch.compile(network.Attention.forward, dynamic=False)
        network.RMSNorm.forward = torch.compile(network.RMSNorm.forward, dynamic=False)
    args.run.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network.Model(network.Config(**vars(network.PRESETS[args.preset]))).to(device)
    if args.init:
        export.load_exported(model, args.init)
    optimizers = optim.make_optimizers(model, args.lr)
    step, tokens = resume(args.run / "last.pt", model, optimizers)
    decay_from, decay_steps, last = args.steps - args.decay_steps, args.decay_steps, args.steps
    if args.finish_in:
        decay_from, decay_steps, last = step, args.finish_in, step + args.finish_in
    started = time.monotonic()
    mix = corpus.Mix(args.data, "train", parse_mix(args.mix))
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {device}, steps {step}..{last}", flush=True)
    with open(args.run / "log.jsonl", "a", encoding="utf-8") as log:
        while step < last:
            began = time.monotonic()
            batch = mix.batch(args.rows, args.length, (args.seed, step))
            factor = optim.schedule(step, args.warmup, decay_from, decay_steps)
            if args.finish_minutes:
                factor = max(0.0, 1.0 - (began - started) / (60 * args.finish_minutes))
                last = last if factor else step + 1
            loss, balance = train_step(model, optimizers, batch, args, factor)
            step, tokens = step + 1, tokens + batch[0].numel()
            rate = batch[0].numel() / (time.monotonic() - began)
            log.write(json.dumps({"step": step, "tokens": tokens, "loss": round(loss, 4), "balance": round(balance, 4),
                                  "lr": args.lr * factor, "tokens_per_s": round(rate)}) + "\n")
            if step % args.save_every == 0 or step == last:
                log.flush()
                save(args.run / "last.pt", model, optimizers, step, tokens)
    save(args.run / "final.pt", model, [], step, tokens)


if __name__ == "__main__":
    main()
