"""Makes the MLflow user that Ray's pods log as, inside the server's pod: see docs/kubernetes.md. Safe to repeat.

Name and password come from the pod's environment, which has them from the secret `mlflow-user`.
"""

import os

import mlflow.server
from mlflow.exceptions import MlflowException


def main() -> None:
    os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
    client = mlflow.server.get_app_client("basic-auth", tracking_uri="http://127.0.0.1:5000")
    name, password = os.environ["JPO_USERNAME"], os.environ["JPO_PASSWORD"]
    try:
        client.create_user(name, password)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(name, password)


if __name__ == "__main__":
    main()
