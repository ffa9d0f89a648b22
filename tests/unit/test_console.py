"""What a person reads when a command ends."""

import pytest
import typer

from launcher.console import USAGE, explained, out


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    """Neither the name of a split nor a bracket in a path is markup."""
    with pytest.raises(typer.Exit) as ended, explained():
        raise ValueError("sets/[a]:train: no split")
    out.print("written: sets/a:train:", highlight=False)
    told = capsys.readouterr()
    assert ended.value.exit_code == USAGE
    assert "sets/[a]:train: no split" in told.err
    assert told.out == "written: sets/a:train:\n"
