"""Figures of an exported model, through transformers (the pre-gated twin through model.py): held-out loss, expert load,
next-layer router recall, samples.

    python evaluate.py --model models/demo --data DATA [--tokens 30000]

Loss is in nats per token, each document alone from its first token. Router recall at distance d: the router of layer l + d
applied to the gate input of layer l; the share of the true top-k slots of layer l + d that it names.
"""
import argparse
import math
import pathlib

import torch
import torch.nn.functional as F
import transformers

import corpus
import pregated

CHATS = [["Tell me a story about a fox who finds a key."], ["Write a story about a lost hat."], ["Hello!"], ["Who are you?"],
         ["What is 7 plus 5?"], ["What is the opposite of hot?"], ["What sound does a cow make?"],
         ["Anna found a red shell at the beach. Tom has a blue kite. What did Anna find?"],
         ["Ben has 6 apples. He eats 2 of them. How many apples does Ben have now?"], ["What day comes after Friday?"]]


class RouterTap:
    """Collects the gate input of every MoE layer: [tokens, hidden] per layer and document.

    A transformers block has one argument, the pre-gated twin's a second one, which its router reads."""

    def __init__(self, model):
        self.inputs = {}
        self.layers = [layer.mlp for layer in (model.network if isinstance(model, pregated.PreGated) else model.model).layers]
        for index, mlp in enumerate(self.layers):
            mlp.register_forward_pre_hook(self.keep(index))

    def keep(self, index):
        """A hook that stores the input of layer `index`."""
        def hook(module, args):
            self.inputs.setdefault(index, []).append(args[-1].detach().flatten(0, 1))
        return hook

    def chosen(self, router, source, top_k):
        """Top-k expert ids [tokens, k] of the router of one layer on the gate input of another."""
        weight = self.layers[router].gate.weight.float()
        return F.linear(torch.cat(self.inputs[source]).float(), weight).topk(top_k, dim=-1).indices


def documents(source, tokens):
    """The first documents of a token file, up to `tokens` ids in all, as tensors [1, n] of at most 1024 ids each."""
    ends = list(source.starts[1:]) + [len(source.ids)]
    for start, end in zip(source.starts, ends):
        if end > tokens:
            return
        yield torch.from_numpy(source.ids[start:min(end, start + 1024)].astype("int64"))[None]


@torch.no_grad()
def held_out_loss(model, source, limit):
    """(nats per token, tokens) over the predicted tokens of the first `limit` tokens."""
    total, tokens = 0.0, 0
    for ids in documents(source, limit):
        logits = model(ids).logits[0, :-1].float()
        total += F.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        tokens += ids.shape[1] - 1
    return total / tokens, tokens


def report_loss(model, data, limit):
    """One line per source."""
    print("| Held-out text | tokens | loss (nats/token) | perplexity |\n|---|---|---|---|")
    for name in corpus.SOURCES:
        loss, tokens = held_out_loss(model, corpus.Source(data / f"{name}.heldout"), limit)
        print(f"| {name} | {tokens} | {loss:.3f} | {math.exp(loss):.2f} |")


def report_load(tap, experts, top_k):
    """Expert load per layer: largest share over the mean, smallest share over the mean, entropy over its maximum."""
    print("\n| Layer | max / mean load | min / mean load | entropy / log(experts) |\n|---|---|---|---|")
    for layer in range(len(tap.layers)):
        counts = torch.bincount(tap.chosen(layer, layer, top_k).flatten(), minlength=experts).double()
        share = counts / counts.sum()
        entropy = -(share * share.clamp_min(1e-12).log()).sum().item() / math.log(experts)
        print(f"| {layer} | {share.max().item() * experts:.2f} | {share.min().item() * experts:.2f} | {entropy:.3f} |")


def report_recall(tap, top_k):
    """Slot recall per source layer and distance, and the mean per distance."""
    layers = len(tap.layers)
    print("\n| From layer | distance 1 | distance 2 | distance 3 |\n|---|---|---|---|")
    sums = {1: [], 2: [], 3: []}
    for layer in range(layers - 1):
        cells = []
        for distance in sums:
            if layer + distance >= layers:
                cells.append("")
                continue
            true = tap.chosen(layer + distance, layer + distance, top_k)
            guess = tap.chosen(layer + distance, layer, top_k)
            recall = (true[:, :, None] == guess[:, None, :]).any(-1).double().mean().item()
            sums[distance].append(recall)
            cells.append(f"{recall:.3f}")
        print(f"| {layer} | " + " | ".join(cells) + " |")
    print("| mean | " + " | ".join(f"{sum(values) / len(values):.3f}" for values in sums.values()) + " |")


@torch.no_grad()
def report_agreement(model, draft, data, limit):
    """Share of positions where the draft's most likely token is the model's, per source."""
    print("\n| Held-out text | draft's greedy token equals the model's |\n|---|---|")
    for name in corpus.SOURCES:
        hits = [model(ids).logits.argmax(-1) == draft(ids).logits.argmax(-1)
                for ids in documents(corpus.Source(data / f"{name}.heldout"), limit)]
        print(f"| {name} | {torch.cat(hits, dim=1).float().mean().item():.3f} |")


@torch.no_grad()
def report_samples(model, tokenizer, sampled):
    """Greedy answers to the fixed chats, a plain continuation, and optionally sampled stories."""
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    for turns in CHATS + [None]:
        if turns:
            text = tokenizer.apply_chat_template([{"role": "user", "content": turns[0]}], tokenize=False, add_generation_prompt=True)
        else:
            text = "Once upon a time, there was a"
        ids = torch.tensor([tokenizer.encode(text)])
        for sample in [False] + [True] * (sampled if "story" in text else 0):
            torch.manual_seed(len(text))
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=300, do_sample=sample, eos_token_id=end)
            answer = tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)
            print(f"\n> {turns[0] if turns else text}{' (sampled)' if sample else ''}\n\n{answer}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=30000, help="held-out tokens per source")
    parser.add_argument("--sampled", type=int, default=1, help="sampled answers per story request, beside the greedy one")
    parser.add_argument("--draft", type=pathlib.Path, help="only report how often this model agrees with --model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    early = pregated.is_pregated(args.model)
    model = pregated.PreGated(args.model) if early else transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32).eval()
    if args.draft:
        draft = transformers.AutoModelForCausalLM.from_pretrained(args.draft, dtype=torch.float32).eval()
        return report_agreement(model, draft, args.data, args.tokens)
    moe = getattr(model.config, "num_experts", 0)
    tap = RouterTap(model) if moe else None
    report_loss(model, args.data, args.tokens)
    if moe:
        report_load(tap, moe, model.config.num_experts_per_tok)
    if moe and not early:
        report_recall(tap, model.config.num_experts_per_tok)
    report_samples(model, tokenizer, args.sampled)


if __name__ == "__main__":
    main()
