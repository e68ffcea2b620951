"""A model's own greedy answers as text to train its draft on: prompts of many kinds, answered by `foregate batch`.

    python answers.py --model models/demo --generated GEN --data DATA --out DATA --prompts 40000 --foregate build/foregate

Writes answers.train as corpus.py describes it, with answers.train.labels.bin beside: for every token the one that the model
itself would put next, in the prompts too. A draft is asked for just that, after whatever the model has said so far. And
token_map.json: the fewest tokens that are a share --cover of these, for `speculative_token_map`.
"""
import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import numpy
import tokenizers

import corpus
import prepare


def openings(documents, rng, most):
    """The first 2 to `most` tokens of a document."""
    document = rng.choice(documents)
    return document[:rng.randint(2, max(2, min(most, len(document) - 1)))]


def prompts_of(args, tokenizer, rng):
    """Yields lists of ids: beginnings of stories, of chats, of questions and of books, and beginnings that go on with odd words."""
    texts = {name: prepare.load_jsonl(args.generated / f"{name}.jsonl") for name in corpus.GENERATED}
    documents = {name: [encoding.ids for encoding in tokenizer.encode_batch(rng.sample(found, min(len(found), args.prompts)))]
                 for name, found in texts.items()}
    source = corpus.Source(args.data / "books.train")
    documents["books"] = [source.ids[at:at + 100].tolist() for at in source.starts]
    words = sorted({word for text in texts["stories"][:2000] + texts["chats"][:2000] for word in text.split()})
    for _ in range(args.prompts):
        name = rng.choices(("stories", "chats", "quizzes", "books"), (0.4, 0.35, 0.15, 0.1))[0]
        prompt = openings(documents[name], rng, args.longest)
        if rng.random() < 0.3:
            prompt = prompt[:30] + tokenizer.encode(" " + " ".join(rng.choices(words, k=rng.randint(1, 8)))).ids
        yield prompt


def ask(args, prompts, folder):
    """Answers in the order of the prompts: bodies of /v1/completions."""
    with open(folder / "in.jsonl", "w", encoding="utf-8") as out:
        for at, prompt in enumerate(prompts):
            body = {"prompt": prompt, "max_tokens": args.tokens, "temperature": 0, "return_token_ids": True, "prompt_logprobs": 1}
            out.write(json.dumps({"custom_id": str(at), "method": "POST", "url": "/v1/completions", "body": body}) + "\n")
    subprocess.run([args.foregate, "batch", args.model, "-i", folder / "in.jsonl", "-o", folder / "out.jsonl"], check=True)
    with open(folder / "out.jsonl", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["response"]["body"]["choices"][0]


def first_choice(candidates):
    """The token of rank 1 of one prompt_logprobs entry."""
    return next(int(token) for token, found in candidates.items() if found["rank"] == 1)


def often_said(labels, share):
    """Ids, ascending, of the fewest tokens that make up `share` of the labels."""
    counts = numpy.bincount(labels)
    order = numpy.argsort(-counts, kind="stable")
    enough = int(numpy.searchsorted(numpy.cumsum(counts[order]), share * len(labels))) + 1
    return sorted(int(token) for token in order[:enough])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--generated", type=pathlib.Path, required=True, help="folder of generate.py")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--foregate", default="build/foregate")
    parser.add_argument("--prompts", type=int, default=40000)
    parser.add_argument("--tokens", type=int, default=160, help="of an answer, at most")
    parser.add_argument("--longest", type=int, default=80, help="tokens of a prompt, but for its odd words")
    parser.add_argument("--cover", type=float, default=0.97, help="share of the labels that the drafted tokens are")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tokenizer = tokenizers.Tokenizer.from_file(f"{args.model}/tokenizer.json")
    end = tokenizer.token_to_id(prepare.SPECIALS[0])
    documents, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        for answer in ask(args, prompts_of(args, tokenizer, random.Random(args.seed)), pathlib.Path(folder)):
            given = answer["token_ids"] + [end]
            documents.append(answer["prompt_token_ids"] + given)
            labels += [first_choice(candidates) for candidates in answer["prompt_logprobs"][1:]] + given + [end]
    print(f"answers.train: {len(documents)} documents, {corpus.write_documents(args.out / 'answers.train', documents)} tokens")
    labels = numpy.asarray(labels, dtype=numpy.uint16)
    labels.tofile(args.out / "answers.train.labels.bin")
    (args.out / "token_map.json").write_text(json.dumps(often_said(labels, args.cover)) + "\n")


if __name__ == "__main__":
    main()
