"""Renders every template of a folder with every conversation through jinja2 and writes the results.

    python make_expected.py --templates templates --out expected.json
    python make_expected.py --templates /some/folder --out real_expected.json --hashes

The environment is the one transformers builds for chat templates. With --hashes the file holds FNV-1a
digests instead of texts, for templates that are not part of this repository.
"""
import argparse
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils

NOW = 1750000000  # strftime_now in every case; UTC


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(form)

    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            for name in dict(*args[1:], **kwargs):
                if name.startswith("_"):
                    raise jinja2.exceptions.SecurityError(name)
            jinja2.utils.Namespace.__init__(*args, **kwargs)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["namespace"] = Namespace
    env.globals["strftime_now"] = strftime_now
    return env


def digest(text):
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def outcome(template, variables, hashes):
    try:
        text = template.render(**variables)
    except Exception as error:  # every failure of the reference must be a failure of ours
        return {"error": f"{type(error).__name__}: {error}"[:160]}
    return {"fnv1a": digest(text)} if hashes else {"text": text}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--hashes", action="store_true")
    args = parser.parse_args()
    here = pathlib.Path(__file__).parent
    conversations = json.loads((here / "conversations.json").read_text(encoding="utf-8"))
    env = environment()
    result = {}
    for path in sorted(args.templates.glob("*.jinja")):
        source = path.read_bytes().decode("utf-8")
        try:
            template = env.from_string(source)
        except Exception as error:
            result[path.name] = {"source": digest(source), "compile_error": f"{type(error).__name__}: {error}"[:160]}
            continue
        cases = {c["name"]: outcome(template, c["variables"], args.hashes) for c in conversations}
        result[path.name] = {"source": digest(source), "cases": cases}
    args.out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
