"""What a wheel carries, and where: `launcher`, `cluster` and `configs` go below `jpo_dist` (jpo_dist/home.py)."""

from setuptools import find_packages, setup

HOME = "jpo_dist.installed"
BESIDE = ["launcher", "cluster", "configs"]

packages = find_packages(include=["jpo_dist*"])
for folder in BESIDE:
    packages += [f"{HOME}.{folder}", *(f"{HOME}.{folder}.{inside}" for inside in find_packages(folder))]
packages += [f"{HOME}.configs.studies", f"{HOME}.configs.schema"]

setup(
    packages=packages,
    package_dir={f"{HOME}.{folder}": folder for folder in BESIDE},
    package_data={
        "jpo_dist": ["sample/*", "judge/prompts/*.txt"],
        **{f"{HOME}.configs{part}": ["*.yaml", "*.json"] for part in ("", ".studies", ".schema")},
    },
)
