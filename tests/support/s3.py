"""An S3-compatible server on loopback: moto's, as real clients see it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""For the environment of every client; the server takes any."""


class Bucket(NamedTuple):
    port: int
    client: Any
    """boto3's: another implementation than the one under test."""

    def url(self, folder: str) -> str:
        return f"s3://bucket/{folder}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def names(self, folder: str) -> list[str]:
        """Every object under `folder`, without it. Arrow leaves an empty object for a folder that it emptied."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{folder}/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return sorted(key.removeprefix(f"{folder}/") for key in keys if not key.endswith("/"))


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """One bucket, named bucket, in memory."""
    app = _as_s3_answers(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests-secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}", **keys)
    client.create_bucket(Bucket="bucket")
    try:
        yield Bucket(server.server_port, client)
    finally:
        server.shutdown()
        thread.join()


def _as_s3_answers(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """moto gives the end of an upload in parts another name than S3 does, which Arrow takes for a failure."""

    def corrected(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or "uploadId" not in environ["QUERY_STRING"]:
            return app(environ, start_response)
        said: list[Any] = []
        body = b"".join(app(environ, lambda status, headers, *_: said.extend([status, headers])))
        body = body.replace(b"CompleteMultipartUploadResponse", b"CompleteMultipartUploadResult")
        headers = [(k, v) for k, v in said[1] if k.lower() != "content-length"] + [("Content-Length", str(len(body)))]
        start_response(said[0], headers)
        return [body]

    return corrected
