"""Addresses in settings: what is wrong with one, said so that a person can write a right one."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

_TRACKED = re.compile(
    r"https?://[^/] | (sqlite|postgresql|mysql|mssql)([+]\w+)?://. | databricks(-uc)?($|://) | uc: "
    r"| azureml:// | arn:aws:",
    re.IGNORECASE | re.VERBOSE,
)
"""What MLflow and the plugins that it names itself take for an address."""
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")
_FOLDER = re.compile("file:(//)?(localhost)?(?P<path>.+)", re.IGNORECASE)


def wrong_with_tracking(uri: str) -> str | None:
    """What is wrong with an address for MLflow, to be read behind the name of its setting; None: nothing."""
    folder = _FOLDER.match(uri)
    if folder:
        # MLflow 3 opens a folder of files only for who asks for it by this variable.
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return None
        path = unquote(folder["path"]).rstrip("/")
        return f" ({uri}) is a folder of files, which MLflow opens no more; write sqlite:///{path}/mlflow.db"
    if not _TRACKED.match(uri):
        shown = "" if "@" in uri else f" ({uri})"  # not repeated: it may be the password
        return f"{shown} is no address that MLflow knows; write http://localhost:5000, sqlite:///FILE, or none"
    database, _, query = uri.partition("?")
    if database.lower().startswith("sqlite") and "/" in query:
        return f" ({uri}) is a URL, in which ? begins a query; write %3F for one that is part of a name"
    return None


def is_here(uri: str) -> bool:
    """Whether an address for MLflow is a place on this machine's disk."""
    return uri.lower().startswith(("file:", "sqlite", "/", ".", "~"))


def wrong_with_storage(url: str) -> str | None:
    """What is wrong with the address of a store, to be read behind the name of its setting; None: nothing."""
    scheme, found, place = url.partition("://")
    if not (scheme and found and place):
        return f"({url}) is not a URL; write s3://bucket/folder or file:///folder"
    if ":" in place.partition("/")[0].rpartition("@")[0]:  # not repeated: it may be the password
        return "has a password in it; give the hosts their credentials by environment variables"
    if scheme == "file" and not place.removeprefix("localhost").startswith("/"):
        return f"({url}) must be absolute: every host has its own working folder; write file:///FOLDER"
    if scheme == "file" and ("?" in place or "#" in place):
        return f"({url}) is a URL, in which ? and # end a path; write %3F and %23 for those that are part of a name"
    return None


def is_address(path: str | Path) -> bool:
    """Whether a path is an address such as `s3://bucket/run`, also where it was made a Path: that leaves one slash."""
    return _ADDRESS.match(str(path)) is not None


def _on_a_disk(given: str) -> str:
    if is_address(given):
        raise ValueError(
            f" ({given}) is an address, and what is written here needs a disk; name a folder, and where commits shall "
            "be copied to an object store, that one in checkpoint.storage"
        )
    return given


OnDisk = Annotated[str, AfterValidator(_on_a_disk)]
"""A folder or file to write. Of `s3://bucket/run` there would be a folder `s3:` below the working folder, of which Ray
deletes a job's."""
