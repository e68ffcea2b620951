"""Trains a NextN layer (multi-token prediction, arXiv 2412.19437 section 2.2) for an exported model whose own weights stay.

    python nextn.py --model models/demo --out models/demo-nextn --steps 400

The layer has a dense FFN. From the normed hidden state at position i and token i + 1 it predicts token i + 2; trained also
on its own states one token further, as it is used for the second token of a draft. It begins as the best linear guess of
the model's next state (least squares), which attention and FFN then add to; 0 steps leave it at that. Text is made by the story and chat
generators as it is needed, or is what the model itself said (answers.py) with --data. The directory gets the layer alone:
`--speculative-config` names it as `model`.
"""
import argparse
import json
import pathlib
import random
import time

import numpy
import safetensors.torch
import tokenizers
import torch
import torch.nn.functional as F
from torch import nn

import chats
import corpus
import export
import model as network
import optim
import prepare
import stories

SECOND = 0.5  # weight of the loss of the second token


class Nextn(nn.Module):
    """One layer and what joins a token and the hidden state before it; names are those of the file."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.enorm, self.hnorm = network.RMSNorm(c.hidden, c.eps), network.RMSNorm(c.hidden, c.eps)
        self.eh_proj = nn.Linear(2 * c.hidden, c.hidden, bias=False)
        self.block = network.Block(c)
        self.head_norm = network.RMSNorm(c.hidden, c.eps)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.0 if writes else weight.shape[-1] ** -0.5)

    def forward(self, embedded, hidden):
        """Both [batch, length, hidden] -> states of the layer, not normed."""
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1))
        cos, sin = network.rope_tables(self.c, x.shape[1], x.device)
        return self.block(x, cos, sin, None)[0]


class Answers:
    """Rows of what answers.py has written: ids, and after each of them what the model itself would say."""

    def __init__(self, data, seed):
        self.source = corpus.Source(data / "answers.train")
        self.rng = numpy.random.default_rng(seed)

    def __call__(self, rows, length):
        return [torch.from_numpy(part) for part in self.source.rows(rows, length, self.rng)]


def rows_of(rng, tokenizer, rows, length):
    """Ids and what follows each, [rows, length] both: each row begins at a document and runs on into the next ones."""
    end = tokenizer.token_to_id("<|endoftext|>")
    out = []
    for _ in range(rows):
        ids = []
        while len(ids) <= length:
            kind = rng.random()
            text = (stories.make_story(rng)[0] if kind < 0.4 else
                    prepare.chat_text(chats.make_chat(rng) if kind < 0.8 else chats.make_quiz(rng)))
            ids += tokenizer.encode(text, add_special_tokens=False).ids + [end]
        out.append(ids[:length + 1])
    return torch.tensor(out)[:, :-1], torch.tensor(out)[:, 1:]


@torch.no_grad()
def begin_linear(layer, trunk, batches, ridge=3e-3):
    """eh_proj such that the normed state comes near the model's state one token later."""
    layer.head_norm.weight.copy_(trunk.norm.weight)
    size = layer.eh_proj.weight.shape[1]
    gram, cross = torch.zeros(size, size), torch.zeros(size, size // 2)
    for ids, _ in batches:
        hidden = trunk.hidden_states(ids)[0]
        joined = torch.cat([layer.enorm(trunk.embed_tokens(ids)[:, 1:]), layer.hnorm(hidden[:, :-1])], dim=-1).flatten(0, 1)
        gram += joined.T @ joined
        cross += joined.T @ (hidden[:, 1:] / trunk.norm.weight).flatten(0, 1)
    gram += ridge * gram.diagonal().mean() * torch.eye(size)
    layer.eh_proj.weight.copy_(torch.linalg.solve(gram, cross).T)


def losses(layer, trunk, ids, labels):
    """Cross entropy of the first and of the second drafted token, and how often their best guesses are right."""
    with torch.no_grad():
        hidden = trunk.hidden_states(ids)[0]
        embedded = trunk.embed_tokens(ids)
    out, states = [], hidden[:, :-1]
    for depth in (1, 2):
        tokens, targets = embedded[:, depth:-1], labels[:, depth:-1]
        states = layer(tokens, states[:, :tokens.shape[1]])
        logits = F.linear(layer.head_norm(states), trunk.embed_tokens.weight).flatten(0, 1)
        out += [F.cross_entropy(logits, targets.flatten()), (logits.argmax(-1) == targets.flatten()).float().mean()]
        states = states[:, :-1]
    return out


def write(layer, source, out):
    """The layer in bf16 under the number after the model's last layer, and a config that says so."""
    config = json.loads((source / "config.json").read_text())
    number = config["num_hidden_layers"]
    config.update({"num_nextn_predict_layers": 1, "mlp_only_layers": [*config["mlp_only_layers"], number],
                   "intermediate_size": layer.c.inter})
    renamed = {"head_norm.weight": "shared_head.norm.weight"}
    tensors = {f"model.layers.{number}." + renamed.get(name, name.removeprefix("block.")): value.to(torch.bfloat16).contiguous()
               for name, value in layer.state_dict().items()}
    out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(dict(sorted(tensors.items())), out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, help="folder of answers.py; none: text of the generators")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--minutes", type=float, help="fall to 0 by the clock instead: for a machine shared with others")
    parser.add_argument("--linear-batches", type=int, default=12, help="that the linear beginning is fitted to")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--length", type=int, default=192)
    parser.add_argument("--width", type=int, default=256, help="of the FFN")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    trunk = network.Model(network.Config(**vars(network.PRESETS["main"])))
    export.load_exported(trunk, args.model)
    trunk.requires_grad_(False)
    layer = Nextn(network.Config(**{**vars(trunk.config), "experts": 0, "top_k": 0, "inter": args.width}))
    optimizers = optim.make_optimizers(layer, args.lr)
    tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    rng, began, step = random.Random("nextn"), time.monotonic(), 0
    answers = Answers(args.data, 1) if args.data else None
    make = answers or (lambda rows, length: rows_of(rng, tokenizer, rows, length))
    begin_linear(layer, trunk, (make(args.rows, args.length) for _ in range(args.linear_batches)))
    print(f"linear after {time.monotonic() - began:.0f} s", flush=True)
    left = 1.0 if args.steps or args.minutes else 0.0
    while left > 0.0:
        first, right, second, second_right = losses(layer, trunk, *make(args.rows, args.length))
        (first + SECOND * second).backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        left = 1.0 - ((time.monotonic() - began) / (60 * args.minutes) if args.minutes else (step + 1) / args.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * min(1.0, (step + 1) / 20) * max(0.0, min(1.0, 2.0 * left))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 20 == 0 or left <= 0.0:
            print(f"step {step} loss {first.item():.3f} {second.item():.3f} right {right.item():.3f} {second_right.item():.3f} "
                  f"after {time.monotonic() - began:.0f} s", flush=True)
    write(layer, args.model, args.out)
    with torch.no_grad():
        held = [losses(layer, trunk, *rows_of(random.Random(f"held:{i}"), tokenizer, 4, 256)) for i in range(4)]
    print("held out: loss %.3f %.3f, right %.3f %.3f" % tuple(sum(float(each[i]) for each in held) / len(held) for i in (0, 2, 1, 3)))


if __name__ == "__main__":
    main()
