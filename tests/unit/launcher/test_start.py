"""`jpo` answers at once: what is slow to import waits until a command needs it."""

import resource
import subprocess
import sys

import pytest

HEAVY = {
    "datasets", "deepspeed", "mlflow", "numpy", "omegaconf", "pandas", "psutil", "pyarrow", "ray", "torch",
    "transformers", "yaml",
}  # fmt: skip
OF_TYPER = {"pydantic"}
"""What Typer itself imports as soon as it reads the arguments of a command or of a group of them."""
CPU_S = 1.0
"""Five times what it takes (0.19 s): with torch it took 2 s."""

HELP = """
import sys
from launcher.__main__ import main
sys.argv = ["jpo", *{words}, "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
print("", *sys.modules, file=sys.stderr)
"""


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("words", "heavy"), [([], HEAVY | OF_TYPER), (["data"], HEAVY), (["data", "build"], HEAVY), (["plan"], HEAVY)]
)
def test_help_loads_nothing_heavy(words: list[str], heavy: set[str]) -> None:
    code = HELP.format(words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: jpo" in done.stdout
    assert not heavy & set(done.stderr.split())


def test_a_study_loads_torch_for_its_dry_run_alone() -> None:
    code = (
        "import sys, launcher.study.beforehand, launcher.study.report.continued, launcher.study.run\n"
        "print('', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers"} & set(done.stdout.split())


def test_the_first_question_of_init_waits_for_nothing_heavy() -> None:
    code = (
        "import sys\nfrom launcher.__main__ import main\nsys.argv = ['jpo', 'init', '/nowhere/new.yaml']\n"
        "try:\n    main()\nexcept SystemExit:\n    print('', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "--data is missing" in done.stderr
    assert not (HEAVY - {"yaml"}) & set(done.stderr.split())


def test_help_costs_a_fraction_of_a_second() -> None:
    spent = []
    for _ in range(3):
        before = cpu_seconds_of_children()
        subprocess.run([sys.executable, "-m", "launcher", "--help"], capture_output=True, check=True)
        spent.append(cpu_seconds_of_children() - before)
    assert min(spent) < CPU_S


LAST = """
import gc, sys

class Circle:
    def __init__(self):
        self.me = self
    def __del__(self):
        print("looked for", flush=True)

gc.disable()  # imports would find it
Circle()
sys.argv = ["jpo", "--version"]
if {freeze}:
    from launcher.__main__ import main
    main()
"""


@pytest.mark.parametrize("freeze", [True, False])
def test_an_end_does_not_look_through_all_objects(freeze: bool) -> None:
    """A command whose work was done took seconds of CPU time more, beside other work minutes."""
    code = LAST.format(freeze=freeze)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("looked for" in done.stdout) != freeze, "the interpreter's own end is the control"
