"""Books and generated text -> tokenizer files and token files.

    python prepare.py --books BOOKS.txt.xz --generated DIR --held-out DIR --out DATA [--tokenizer DIR] [--keep 0.35]

The simplest chunks of the books are kept (short, common words; short sentences). One chunk in a hundred is held out;
held-out stories and chats come from a second run of generate.py with another seed.
"""
import argparse
import collections
import json
import lzma
import pathlib
import random
import re

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

import corpus

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = ("{%- for message in messages %}\n"
                 "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
                 "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n")
PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ", "\u00a0": " "})


def clean(text):
    """Straight quotes, single spaces, dashes as ' - '."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\s*--+\s*", " - ", text.translate(PLAIN))).strip()


def chunks_of(book, size=1200):
    """Runs of whole paragraphs of about `size` characters; headings and lines of odd characters are left out."""
    current = []
    for paragraph in (clean(part.replace("\n", " ")) for part in re.split(r"\n\s*\n|\n(?=[A-Z\"])", book)):
        if len(paragraph) < 30 or paragraph[-1] not in ".!?\"'" or re.search(r"[_\[\]{}|<>*=#\\]|[^\x00-\x7f]", paragraph):
            continue
        current.append(paragraph)
        if sum(map(len, current)) >= size:
            yield "\n".join(current)
            current = []


def simplest(chunks, keep):
    """The share `keep` of chunks with the shortest sentences and the most common words."""
    counts = collections.Counter(word for chunk in chunks for word in re.findall(r"[a-z']+", chunk.lower()))
    common = {word for word, _ in counts.most_common(2500)}

    def difficulty(chunk):
        found = re.findall(r"[a-z']+", chunk.lower())
        sentences = max(1, len(re.findall(r"[.!?]", chunk)))
        rare = sum(word not in common for word in found) / max(1, len(found))
        return 10 * rare + len(found) / sentences / 20
    return sorted(chunks, key=difficulty)[:int(len(chunks) * keep)]


def chat_text(turns):
    """The same text as the chat template gives for the whole conversation."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def load_jsonl(path):
    """Texts of a file written by generate.py."""
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [record["text"] if "text" in record else chat_text(record["chat"]) for record in records]


def train_tokenizer(texts, size=4096):
    """Byte-level BPE with the Qwen2 split; digits stand alone."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def write_tokenizer(tokenizer, folder):
    """tokenizer.json and tokenizer_config.json with the chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
              "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "model_max_length": 2048,
              "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def encode_to(path, texts, tokenizer):
    """Encode, shuffle-free, and write one token file; prints its size."""
    end = tokenizer.token_to_id(SPECIALS[0])
    documents = [encoding.ids + [end] for encoding in tokenizer.encode_batch(texts)]
    print(f"{path.name}: {len(texts)} documents, {sum(map(len, texts))} characters, {corpus.write_documents(path, documents)} tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=pathlib.Path, required=True)
    parser.add_argument("--generated", type=pathlib.Path, required=True)
    parser.add_argument("--held-out", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, help="use this tokenizer.json instead of training one")
    parser.add_argument("--keep", type=float, default=0.35, help="share of the book chunks that is kept")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    books = lzma.open(args.books, "rt", encoding="utf-8").read().split("<|book|>")
    chunks = simplest([chunk for book in books for chunk in chunks_of(book)], args.keep)
    random.Random(7).shuffle(chunks)
    held = len(chunks) // 100
    splits = {"train": {"books": chunks[held:]}, "heldout": {"books": chunks[:held]}}
    for split, folder in (("train", args.generated), ("heldout", args.held_out)):
        splits[split].update({name: load_jsonl(folder / f"{name}.jsonl") for name in corpus.GENERATED})
    if args.tokenizer:
        tokenizer = tokenizers.Tokenizer.from_file(str(args.tokenizer))
    else:
        sample = {name: random.Random(3).sample(texts, min(len(texts), 12000)) for name, texts in splits["train"].items()}
        tokenizer = train_tokenizer([text for texts in sample.values() for text in texts])
    write_tokenizer(tokenizer, args.out / "tokenizer")
    for split, texts in splits.items():
        for name in corpus.SOURCES:
            encode_to(args.out / f"{name}.{split}", texts[name], tokenizer)


if __name__ == "__main__":
    main()
