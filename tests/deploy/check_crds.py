"""The custom resources of every set of values against the definitions that a cluster has, unknown fields refused.

Usage, with the interpreter of run_deploy.py's environment and FOREGATE_BINARY set to anything: check_crds.py FILE...
FILE: a CustomResourceDefinition as its project publishes it (kubectl get crd NAME -o yaml). Every kind of custom_kinds.py
must be among them."""
import sys

import jsonschema
import yaml

from custom_kinds import CUSTOM
from manifests_test import SETS, rendered


def strict(schema):
    """The schema with unknown fields refused, as an API server does with fieldValidation=Strict."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: value for key, value in schema.items() if not (key == "pattern" and "(?i)" in value)}  # not of Python's syntax
    if "properties" in made:
        made["properties"] = {name: strict(value) for name, value in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key])
    return made


def definitions(files):
    found = {}
    for path in files:
        with open(path) as text:
            spec = yaml.safe_load(text)["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object"}
            found[(f"{spec['group']}/{version['name']}", spec["names"]["kind"])] = strict(schema)
    return found


def main():
    known, seen = definitions(sys.argv[1:]), set()
    for name, values in SETS.items():
        for one in rendered(values):
            kind = (one["apiVersion"], one["kind"])
            if kind not in CUSTOM:
                continue
            jsonschema.validate(one, known[kind])
            try:
                jsonschema.validate({**one, "spec": {**one["spec"], "colour": "red"}}, known[kind])
            except jsonschema.ValidationError:
                print(f"{name}: {' '.join(kind)} is what its definition takes")
                seen.add(kind)
            else:
                raise SystemExit(f"{kind}: the definition takes unknown fields")
    if seen != set(CUSTOM):
        raise SystemExit(f"not rendered by any set of values: {set(CUSTOM) - seen}")


if __name__ == "__main__":
    main()
