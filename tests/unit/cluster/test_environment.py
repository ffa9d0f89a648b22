"""What workers and Ray find in their environment."""

import os
import stat
from contextlib import suppress

from cluster import environment, ray_train
from cluster.config import ClusterConfig
from cluster.secrets import load_secrets, ray_token


def test_workers_get_a_closed_list_of_the_drivers_variables_and_no_secrets():
    driver = {
        "HF_HUB_OFFLINE": "1",
        "NCCL_DEBUG": "INFO",
        "HF_TOKEN": "canary",
        "OPENAI_API_KEY": "canary",
        "NCCL_SOCKET_IFNAME": "eth9",
    }
    env = environment.worker_env(ClusterConfig(cpus_per_worker=3.5), driver)
    assert env == {
        "OMP_NUM_THREADS": "3",
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "NCCL_DEBUG": "INFO",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }


def test_the_later_source_of_a_variable_wins():
    config = ClusterConfig(env={"OMP_NUM_THREADS": "5", "JPO_CACHE": "/config"}, gpus_per_worker=1)
    env = environment.worker_env(config, {"OMP_NUM_THREADS": "4", "JPO_CACHE": "/shell", "HF_HOME": "/shell"})
    assert (env["OMP_NUM_THREADS"], env["JPO_CACHE"], env["HF_HOME"]) == ("5", "/config", "/shell")
    assert not {"DS_ACCELERATOR", "CUDA_VISIBLE_DEVICES"} & env.keys()


def test_environment_is_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("JPO_A", "old")
    monkeypatch.delenv("JPO_B", raising=False)
    with suppress(KeyError), environment.environment({"JPO_A": "new", "JPO_B": "new"}):
        assert (os.environ["JPO_A"], os.environ["JPO_B"]) == ("new", "new")
        raise KeyError
    assert os.environ["JPO_A"] == "old"
    assert "JPO_B" not in os.environ


def test_the_interface_of_an_address_is_found():
    assert environment.interface_of("127.0.0.1") == "lo"
    assert environment.interface_of("203.0.113.77") is None


def test_the_limits_of_the_config_become_rays():
    settings = environment.ray_settings(ClusterConfig(health_timeout_s=7, start_timeout_s=8, collective_timeout_s=9))
    assert settings["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "7"
    assert settings["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "8"
    assert environment.ray_settings(ClusterConfig())["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "120"
    assert settings["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] == "9"


def test_the_ray_token_is_made_once_and_only_its_owner_can_read_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    environment.private_token()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    path.chmod(0o644)  # as Ray itself would have written it
    environment.private_token()
    assert path.read_text() == token
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_rays_name_for_the_wait_for_a_lost_worker_is_the_one_that_is_set():
    from ray.train import constants

    assert list(ray_train.LEAVING_A_GROUP) == [constants.TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S]


def test_the_mark_of_an_encoding_is_no_part_of_a_secret(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("word\n", encoding="utf-8-sig")
    monkeypatch.setenv("MY_WORD", "")
    load_secrets({"MY_WORD": str(tmp_path / "secret")})
    assert os.environ["MY_WORD"] == "word"
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "secret"))
    assert ray_token() == "word"
