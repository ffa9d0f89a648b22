"""Whether a cluster can hold the workers asked for, and what is said when it cannot."""

import pytest

from cluster import connection, resources
from cluster.config import ClusterConfig
from cluster.resources import Node


def node(cpus, gpus=0.0, free=None):
    return Node("10.0.0.1", cpus, gpus, cpus if free is None else free, gpus)


@pytest.mark.parametrize(
    ("placement", "expected"), [("PACK", 5), ("SPREAD", 5), ("STRICT_PACK", 4), ("STRICT_SPREAD", 2)]
)
def test_capacity_follows_the_placement_rule(placement, expected):
    config = ClusterConfig(workers=2, cpus_per_worker=2, placement=placement)
    assert resources.capacity([node(8.5), node(3), node(1.9)], config) == expected


def test_capacity_is_bounded_by_the_scarcer_of_cpus_and_gpus():
    config = ClusterConfig(workers=2, cpus_per_worker=1, gpus_per_worker=0.5)
    assert resources.capacity([node(3, gpus=8), node(64, gpus=1), node(64)], config) == 3 + 2 + 0


def test_many_small_shares_of_a_cpu_are_not_lost_to_rounding():
    assert resources.capacity([node(0.3)], ClusterConfig(workers=3, cpus_per_worker=0.1)) == 3


def test_a_shortage_names_what_was_asked_what_each_node_has_and_the_fix():
    config = ClusterConfig(workers=3, placement="STRICT_SPREAD")
    text = resources.shortage([node(4), node(8, free=2)], config, waited_s=12)
    for part in ("cluster.workers=3", "STRICT_SPREAD", "4 CPU (4 free)", "8 CPU (2 free)", "room for 2 of 3", "12 s"):
        assert part in text
    assert "join 1 more node(s), or use cluster.placement=SPREAD" in text


def test_a_shortage_by_other_users_is_told_from_a_too_small_cluster():
    text = resources.shortage([node(4, free=0)], ClusterConfig(workers=2), waited_s=0)
    assert "in use by others" in text
    assert "cluster.start_timeout_s" in text


def test_dead_nodes_do_not_count():
    records = [
        {"Alive": True, "NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0}},
        {"Alive": False, "NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 4.0}},
    ]
    assert resources.nodes_of(records, {"a": {"CPU": 1.0}}) == [Node("10.0.0.1", 4.0, 0.0, 1.0, 0.0, "a")]


def test_after_a_loss_the_workers_are_as_many_as_there_is_room_for(monkeypatch, caplog):
    """Ray counts the places of a host that has gone for a minute. Not even then is `min` enough."""
    room, asked = [8, 8, 7], []
    monkeypatch.setattr(connection, "nodes", list)
    monkeypatch.setattr(connection.resources, "room", lambda nodes, config: room.pop(0))

    def reserved(config, seconds):
        asked.append(config.most)
        return config.most < 8

    monkeypatch.setattr(connection, "reserved", reserved)
    monkeypatch.setattr(connection, "SETTLE_S", 0.0)
    assert connection.workers_now(ClusterConfig(workers={"min": 1, "max": 8})) == 7
    assert asked == [8, 8, 7]
    assert [record.message.partition(":")[0] for record in caplog.records] == ["waiting 600 s for room"]


def test_a_range_comes_down_to_what_can_be_had_where_the_room_is_always_overestimated(monkeypatch):
    """The first number was asked for until the time was up."""
    asked = []
    monkeypatch.setattr(connection, "nodes", list)
    monkeypatch.setattr(connection.resources, "room", lambda nodes, config: 8)
    monkeypatch.setattr(connection, "reserved", lambda config, seconds: asked.append(config.most) or config.most <= 2)
    monkeypatch.setattr(connection, "GONE_S", -1.0)
    monkeypatch.setattr(connection, "SETTLE_S", 0.0)
    assert connection.workers_now(ClusterConfig(workers={"min": 1, "max": 8})) == 2
    assert asked == [8, 4, 2]
    asked.clear()
    assert connection.workers_now(ClusterConfig(workers={"min": 2, "max": 8})) == 2
    assert asked == [8, 5, 3, 2]


def test_gpus_that_no_worker_reserves_are_named():
    said = resources.idle_gpus([node(8, gpus=2), node(8), node(8, gpus=6)], ClusterConfig(workers=2))
    assert said is not None
    assert said.startswith("8 GPU(s) are there, and cluster.gpus_per_worker is 0")
    assert resources.idle_gpus([node(8)], ClusterConfig(workers=2)) is None
    assert resources.idle_gpus([node(8, gpus=8)], ClusterConfig(workers=2, gpus_per_worker=0.5)) is None


def test_a_run_on_this_machine_says_that_its_gpus_stand_idle(monkeypatch, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connection.torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection.ray, "init", lambda **_: None)
    monkeypatch.setattr(connection.ray, "shutdown", lambda: None)
    for gpus_each in (0, 1):
        with connection.connected(ClusterConfig(workers=1, gpus_per_worker=gpus_each)):
            pass
    assert [record.message.partition(" are")[0] for record in caplog.records] == ["3 GPU(s)"]
