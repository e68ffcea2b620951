#!/usr/bin/env python3
"""Texts drawn under the masks of generated JSON schemas, against the `jsonschema` library.

usage: run_schemas.py --binary form_samples --tokenizer tokenizer.json --work DIR
Exit status: 0 all are valid, 1 one is not, 77 skipped, with the reason, because PyPI cannot be reached.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import venv

SKIPPED = 77
LIBRARY = "jsonschema==4.23.0"
COUNT = 600
NAMES = ["name", "na", "id", "the", "q\"x", "é", "a b", "value", "tags"]


def generated(rng, depth=0):
    """A schema of the subset that engine/grammar/README.md lists."""
    kinds = ["string", "length", "pattern", "format", "integer", "range", "number", "float_range", "boolean", "null", "enum",
             "const", "types"]
    if depth < 3:
        kinds += ["object", "object", "object", "array", "array", "tuple", "any_of", "one_of", "map"]
    kind = rng.choice(kinds)
    low = rng.randint(-200, 200)
    if kind == "length":
        least = rng.randint(0, 6)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 20)}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice([r"^[a-z]{2,5}$", r"^\d{3}-\d{4}$", r"the|a", r"^[^\"a]+$", r"^(x|yz)*w?$"])}
    if kind == "format":
        return {"type": "string", "format": rng.choice(["date", "time", "date-time", "uuid", "ipv4"])}
    if kind == "range":
        return {"type": "integer", rng.choice(["minimum", "exclusiveMinimum"]): low, "maximum": low + rng.randint(2, 500)}
    if kind == "float_range":
        return {"type": "number", "minimum": low, rng.choice(["maximum", "exclusiveMaximum"]): low + rng.randint(1, 50)}
    if kind == "enum":
        return {"enum": rng.sample(["red", "green", "\"", "a\nb", 1, -2.5, None, True, {"k": [1]}, "é"], 3)}
    if kind == "const":
        return {"const": rng.choice(["x", 0, None, [1, "2"], {"a": None}])}
    if kind == "types":
        return {"type": rng.sample(["string", "integer", "boolean", "null", "number"], 2)}
    if kind == "object":
        names = rng.sample(NAMES, rng.randint(0, 4))
        schema = {"type": "object", "properties": {n: generated(rng, depth + 1) for n in names},
                  "required": [n for n in names if rng.random() < 0.5]}
        if rng.random() < 0.5:
            schema["additionalProperties"] = rng.choice([False, False, {"type": "boolean"}, True])
        return schema
    if kind == "map":
        return {"type": "object", "additionalProperties": generated(rng, depth + 1)}
    if kind == "array":
        schema = {"type": "array", "items": generated(rng, depth + 1)}
        if rng.random() < 0.5:
            schema["minItems"] = rng.randint(0, 3)
            schema["maxItems"] = schema["minItems"] + rng.randint(0, 3)
        return schema
    if kind == "tuple":
        return {"type": "array", "prefixItems": [generated(rng, depth + 1) for _ in range(2)], "minItems": 2, "maxItems": 2}
    if kind == "any_of":
        return {"anyOf": [generated(rng, depth + 1) for _ in range(rng.randint(1, 3))], "title": "t"}
    if kind == "one_of":
        return {"oneOf": [{"type": "object", "properties": {"k": {"const": k}, "v": generated(rng, depth + 1)}, "required": ["k"]}
                          for k in ("a", "b")]}
    return {"type": kind}


def schemas():
    rng = random.Random(5)
    made = [generated(rng) for _ in range(COUNT)]
    node = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
            "required": ["v", "next"], "additionalProperties": False}
    return made + [{"$defs": {"n": node}, "$ref": "#/$defs/n"}] * 20


def python_with_library(work):
    folder = work / "venv"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return str(python)
    venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", LIBRARY]
    if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None
    (folder / "ready").touch()
    return str(python)


def check(texts):
    import jsonschema
    made, bad = schemas(), 0
    assert len(texts) == len(made), (len(texts), len(made))
    for schema, text in zip(made, texts):
        try:
            jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator,
                                format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        except (ValueError, jsonschema.ValidationError) as error:
            bad += 1
            print(f"{json.dumps(schema)[:300]}\n  gave {text[:200]}\n  {str(error)[:200]}")
    print(f"{len(made)} schemas, {bad} texts that do not fit")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary")
    parser.add_argument("--tokenizer")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path, help="the texts, one a line; needs the library")
    options = parser.parse_args()
    if options.check:
        return check(options.check.read_text().split("\n")[:-1])
    options.work.mkdir(parents=True, exist_ok=True)
    python = python_with_library(options.work)
    if python is None:
        print("skipped: PyPI cannot be reached")
        return SKIPPED
    lines = "".join(json.dumps(schema) + "\n" for schema in schemas())
    done = subprocess.run([options.binary, options.tokenizer], input=lines, capture_output=True, text=True, check=True)
    texts = options.work / "texts.jsonl"
    texts.write_text(done.stdout)
    return subprocess.run([python, __file__, "--check", str(texts)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
