#!/usr/bin/env python3
"""Writes base/foregate.yaml beside this file: what the Helm chart makes of its own values, without Helm's labels.

Needs helm-python-sdk and PyYAML from PyPI. With --check nothing is written; the exit code says whether it is current."""
import sys
from pathlib import Path

import yaml
from helm_python.chart import Chart

HERE = Path(__file__).resolve().parent
OUT = HERE / "base" / "foregate.yaml"
HELMS = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version")
HEAD = "# Made by deploy/kustomize/make_base.py from the values of the Helm chart; change it through an overlay.\n"


class Dumper(yaml.SafeDumper):
    """Text of several lines as it is read."""


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def without_helm(node):
    if isinstance(node, dict):
        return {key: without_helm(value) for key, value in node.items() if key not in HELMS and key != "checksum/config"}
    return [without_helm(item) for item in node] if isinstance(node, list) else node


def manifests():
    rendered = Chart.load(HERE.parent / "helm" / "foregate").render({}, name="foregate", namespace="default")
    made = [one for path, text in rendered.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    made.sort(key=lambda one: (one["kind"], one["metadata"]["name"]))
    text = "---\n".join(yaml.dump(without_helm(one), Dumper=Dumper, sort_keys=False, width=110) for one in made)
    return HEAD + text.replace("      annotations: {}\n", "")


def main():
    text = manifests()
    if "--check" in sys.argv[1:]:
        same = OUT.exists() and OUT.read_text() == text
        print("base/foregate.yaml is what the chart makes" if same else "base/foregate.yaml is stale: run make_base.py")
        return 0 if same else 1
    OUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
