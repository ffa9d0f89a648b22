"""A library that refuses a variable of the environment says no more than its value: the variable is named."""

import importlib

import pytest
import typer
from huggingface_hub import constants

from launcher.blamed import blamed
from launcher.console import explained


def raised_by_a_library(monkeypatch: pytest.MonkeyPatch, value: str) -> ValueError:
    """What the hub's library raises when it is imported with this time limit."""
    with monkeypatch.context() as patched:
        patched.setenv("HF_HUB_ETAG_TIMEOUT", value)
        with pytest.raises(ValueError, match="invalid literal") as caught:
            importlib.reload(constants)
    importlib.reload(constants)
    return caught.value


def test_the_variable_with_the_value_of_the_sentence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = raised_by_a_library(monkeypatch, "soon")
    fix = "HF_HUB_ETAG_TIMEOUT (soon) in the environment says so; correct it, or unset it"
    assert blamed(error, {"HF_HUB_ETAG_TIMEOUT": "soon", "HF_TOKEN": "so"}) == fix


@pytest.mark.parametrize("environ", [{}, {"HF_X": "so"}, {"HF_X": "on"}, {"PATH": "soon"}, {"HF_X": " "}])
def test_no_other_variable_is(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert blamed(raised_by_a_library(monkeypatch, "soon"), environ) is None


def test_an_error_of_ours_or_one_that_names_the_variable_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="soon") as caught:
        raise ValueError("soon")
    assert blamed(caught.value, {"HF_X": "soon"}) is None
    assert blamed(ValueError("soon"), {"HF_X": "soon"}) is None


def test_a_command_ends_with_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = raised_by_a_library(monkeypatch, "soon")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "soon")
    with pytest.raises(typer.Exit) as end, explained():
        raise error
    assert end.value.exit_code == 2
    said = "invalid literal for int() with base 10: 'soon'; HF_HUB_ETAG_TIMEOUT (soon) in the environment says so"
    assert said in capsys.readouterr().err
