"""Turns Kubernetes' OpenAPI description into one JSON schema per kind, as kubeconform reads them.

Usage: kubernetes_schemas.py SWAGGER.json DIRECTORY. Unknown fields are refused: the API server
drops them silently, so a misspelt one would never be noticed.
"""

import json
import sys

PREFIX = "#/definitions/"


def strict(node):
    """The schema with unknown fields refused and the two types that are more than they say."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    out = {
        key: {name: strict(value) for name, value in child.items()}
        if key == "properties"
        else strict(child)
        for key, child in node.items()
        if key not in ("description", "format", "default") and not key.startswith("x-kubernetes")
    }
    if "properties" in out and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(PREFIX)
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def closure(name, definitions):
    needed, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current not in needed:
            needed.add(current)
            todo.extend(references(definitions[current]))
    return {key: definitions[key] for key in sorted(needed)}


def main(swagger, directory):
    with open(swagger, encoding="utf-8") as file:
        source = json.load(file)["definitions"]
    definitions = {name: strict(body) for name, body in source.items()}
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    for name, body in source.items():
        for kind in body.get("x-kubernetes-group-version-kind", []):
            properties = body.get("properties", {})
            if "kind" not in properties or "metadata" not in properties:
                continue
            group = kind["group"].split(".")[0]
            parts = [kind["kind"].lower()] + ([group] if group else []) + [kind["version"]]
            schema = {"$ref": PREFIX + name, "definitions": closure(name, definitions)}
            with open(f"{directory}/{'-'.join(parts)}.json", "w", encoding="utf-8") as file:
                json.dump(schema, file)


main(*sys.argv[1:])
