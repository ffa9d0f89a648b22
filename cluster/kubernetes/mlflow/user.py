"""Makes the MLflow user that Ray's pods log as, inside the server's pod: see docs/kubernetes.md. Safe to repeat.

Names and passwords come from the pod's environment, which has them from the secrets. Plain HTTP to the server in it.
"""

import base64
import json
import os
import urllib.error
import urllib.request

ADDRESS = f"http://127.0.0.1:{os.environ.get('JPO_MLFLOW_PORT', '5000')}/api/2.0/mlflow/users"


def main() -> None:
    user = {"username": os.environ["JPO_USERNAME"], "password": os.environ["JPO_PASSWORD"]}
    try:
        as_admin("POST", "create", user)
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        if "RESOURCE_ALREADY_EXISTS" not in said:
            raise SystemExit(f"HTTP {error.code}: {said}") from None
        as_admin("PATCH", "update-password", user)


def as_admin(method: str, what: str, body: dict[str, str]) -> None:
    credentials = base64.b64encode(f"admin:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}".encode()).decode("ascii")
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{ADDRESS}/{what}", json.dumps(body).encode("utf-8"), headers=headers, method=method
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    direct.open(request, timeout=30).close()


if __name__ == "__main__":
    main()
