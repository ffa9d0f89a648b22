"""docs/licences.md from the metadata of the installed packages: `make licences`.

Packages of the locks that are not installed here (CUDA's), and those whose metadata say nothing,
stand in ELSEWHERE with what their files say.
"""

import importlib.metadata
import re
import sys
from collections.abc import Mapping
from pathlib import Path

LOCKS = ("runtime", "judge", "deepspeed", "cuda", "mlflow")
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
ELSEWHERE = {
    "cuda-bindings": "Apache-2.0",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": f"{NVIDIA} (names packages, has no files)",
    "huey": "MIT",
    "skops": "MIT",
    "triton": "MIT License",
}
HEADER = """# Licences

Of every package in the images, as the packages state them: `make licences` writes this page from the locks and the
installed packages. JPO-dist itself is MIT.

`runtime` is the image, `judge` the one built with `LOCK=judge`, `cuda` what `FLAVOR=cuda` adds (a CPU image has
PyTorch's CPU build instead), `mlflow` the image of the MLflow server.

| package | version | licence | in |
| --- | --- | --- | --- |
"""


def main() -> None:
    versions: dict[str, str] = {}
    places: dict[str, list[str]] = {}
    for lock in LOCKS:
        for name, version in pins(Path(__file__).with_name(f"{lock}.txt")).items():
            versions[name] = version
            places.setdefault(name, []).append("runtime, judge" if lock == "deepspeed" else lock)
    rows = [f"| {name} | {versions[name]} | {licence(name)} | {', '.join(places[name])} |\n" for name in sorted(places)]
    sys.stdout.write(HEADER + "".join(rows))


def pins(lock: Path) -> dict[str, str]:
    """Normal name to version of every requirement in a lock."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in found}


def licence(name: str) -> str:
    """What a package says of itself, or what was read in its files. Raises LookupError where neither is known."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if name.startswith("nvidia-"):
        return NVIDIA
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        raise LookupError(f"{name} is in a lock, but not installed: add its licence to ELSEWHERE") from None
    return stated(metadata) or _unstated(name)


def stated(metadata: Mapping[str, str]) -> str:
    """The SPDX expression, else the classifiers, else the first line of the text; empty when there is none."""
    if metadata.get("License-Expression"):
        return metadata["License-Expression"]
    get_all = getattr(metadata, "get_all", lambda key: [])
    classifiers = [line.split(" :: ")[-1] for line in get_all("Classifier") or [] if line.startswith("License :: ")]
    named = [line for line in classifiers if line != "OSI Approved"]
    if named:
        return ", ".join(sorted(set(named)))
    text = (metadata.get("License") or "").strip()
    return text.splitlines()[0].replace("|", "/")[:80] if text and text.upper() != "UNKNOWN" else ""


def _unstated(name: str) -> str:
    raise LookupError(f"{name} states no licence: read its LICENSE file and add it to ELSEWHERE")


if __name__ == "__main__":
    main()
