"""What an image says of itself, for check.sh: `python examine.py INSPECT.json WORD…` (no WORD may occur in it)."""

import json
import sys
from pathlib import Path


def faults(image: dict[str, object], words: list[str]) -> list[str]:
    """What is wrong with `image`, as `buildah inspect` shows it."""
    docker = image["Docker"]
    assert isinstance(docker, dict)
    config = docker["config"]
    found = []
    if config.get("User") != "1000:1000":
        found.append(f"user is {config.get('User')!r}, not 1000:1000")
    if not config.get("Healthcheck"):
        found.append("no health check (an OCI image has none: build with --format docker)")
    if config.get("Entrypoint", [None])[0] != "/usr/bin/tini":
        found.append(f"entry point is {config.get('Entrypoint')}, not tini")
    labels = config.get("Labels") or {}
    found += [
        f"label {name} is missing"
        for name in ("title", "version", "revision", "licenses")
        if not labels.get(f"org.opencontainers.image.{name}")
    ]
    said = json.dumps([config, docker.get("container_config"), docker.get("history"), image.get("History")])
    return found + [f"{word} is in its configuration or history" for word in words if word in said]


if __name__ == "__main__":
    wrong = faults(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2:])
    if wrong:
        sys.exit("the image is not as it should be:\n" + "\n".join(f"  {line}" for line in wrong))
