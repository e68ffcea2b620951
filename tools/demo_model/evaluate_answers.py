"""Share of questions that an exported model answers exactly as the generator does, by kind, greedily, through transformers.

    python evaluate_answers.py --model models/demo [--count 40] [--seed 5]
"""
import argparse
import pathlib
import random

import torch
import transformers

import chats
import facts

KINDS = {"recall from a given text": facts.recall, "sums": facts.arithmetic, "sums told as a story": facts.word_problem,
         "animal facts": facts.animal_fact, "general facts": facts.general}


@torch.no_grad()
def answer(model, tokenizer, question, end):
    """The greedy answer to one question, without special tokens."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer.encode(text)])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False, eos_token_id=end)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).strip()


def story_share(model, tokenizer, end, count, rng):
    """Share of requested stories that name both the animal and the object asked for."""
    hits = 0
    for _ in range(count):
        kind, thing = rng.choice(list(chats.words.ANIMALS)), rng.choice(chats.words.FINDS)
        request = chats.grammar.polish(f"Tell me a story about a {kind} who finds a {thing}.")
        story = answer(model, tokenizer, request, end)
        hits += kind in story and thing in story
    return hits / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=40, help="questions per kind")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--show", action="store_true", help="print every question with both answers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    print("| Questions | answered exactly |\n|---|---|")
    for name, make in KINDS.items():
        hits = 0
        for _ in range(args.count):
            question, expected = make(rng)
            given = answer(model, tokenizer, question, end)
            hits += given == expected
            if args.show:
                print(f"? {question}\n  expected {expected}\n  given    {given}")
        print(f"| {name} | {hits / args.count:.2f} |")
    print(f"| story with the animal and the object asked for in its first 60 tokens | {story_share(model, tokenizer, end, args.count, rng):.2f} |")


if __name__ == "__main__":
    main()
