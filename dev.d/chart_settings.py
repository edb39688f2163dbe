"""Compares the chart's settings (values.schema.json) with Tidemill's (docs/SETTINGS.md).

Usage: chart_settings.py values.schema.json SETTINGS.md. Prints what one has and the other has not.
"""

import json
import re
import sys

# Set by the chart itself: the pod's name, the port, the volume.
OWN = {"instance-id", "http.bind", "state.dir"}
# A table of librdkafka's names, not of ours.
OPEN = {"kafka.properties"}


def leaves(schema, path=""):
    for name, child in schema.get("properties", {}).items():
        key = f"{path}.{name}" if path else name
        if "properties" in child and key not in OPEN:
            yield from leaves(child, key)
        else:
            yield key


def main(schema, page):
    with open(schema, encoding="utf-8") as file:
        chart = set(leaves(json.load(file)["properties"]["settings"]))
    with open(page, encoding="utf-8") as file:
        settings = set(re.findall(r"^\| `([a-z.-]+)` \|", file.read(), re.MULTILINE)) - OWN
    for key in sorted(settings - chart):
        print(f"{schema} does not have {key}")
    for key in sorted(chart - settings):
        print(f"{page} does not have {key}, or the chart sets it itself")
    if not settings or settings != chart:
        sys.exit(1)


main(*sys.argv[1:])
