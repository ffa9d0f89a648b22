"""Replies survive kills and several writers, and count only once they are on the disk."""

import json

import pytest

from jpo_dist.endpoint.replies import Replies, Reply


def reply_of(tokens: int, key: str = "k") -> Reply:
    return Reply(key, "(a)", tokens, 0, False, 0.1, "s")


def test_replies_survive_a_torn_line_and_two_writers(tmp_path):
    one, two = Replies(tmp_path), Replies(tmp_path)
    one.add(reply_of(1, "k1"))
    two.add(reply_of(2, "k2"))
    two.add(Reply("k3", 'x\n"\ud83d é', 1, 1, True, 0.5, "s"))
    torn = sorted(tmp_path.glob("*.jsonl"))[-1]
    with torn.open("ab") as file:
        file.write(b'{"key": "k4", "reply": "(a')
    again = Replies(tmp_path)
    assert {a.key for a in again.all()} == {"k1", "k2", "k3"}
    assert again.get("k3") == Reply("k3", 'x\n"\ud83d é', 1, 1, True, 0.5, "s")
    again.add(reply_of(4, "k4"))  # a file of its own: the torn line does not swallow it
    assert Replies(tmp_path).get("k4") == reply_of(4, "k4")
    assert not Replies(tmp_path).repeated


def test_a_reply_is_on_the_disk_before_it_is_known(tmp_path, monkeypatch):
    replies = Replies(tmp_path)
    replies.add(reply_of(1, "k1"))
    seen = []

    def flush(_: int) -> None:
        written = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
        seen.append(("k2" in written, replies.get("k2")))

    monkeypatch.setattr("os.fsync", flush)
    replies.add(reply_of(1, "k2"))
    assert seen == [(True, None)]  # in the file when it is flushed, and not yet to be seen by anybody
    assert replies.get("k2") == reply_of(1, "k2")


def test_a_reply_whose_line_was_damaged_is_not_there_and_one_of_an_older_version_is(tmp_path, caplog):
    replies = Replies(tmp_path)
    replies.add(reply_of(1, "k1"))
    replies.add(reply_of(2, "k2"))
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_text()
    path.write_text(whole.replace("(a)", "(b)", 1))
    assert [reply.key for reply in Replies(tmp_path).all()] == ["k2"]
    assert f"{path}: 1 lines are no replies; their questions are asked again" in caplog.text
    lines = [json.loads(line) for line in whole.splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "digest"}) + "\n" for line in lines))
    assert Replies(tmp_path).all() == replies.all()


GOOD = reply_of(1)._asdict()
TAMPERED = [
    {"input_tokens": 10**400}, {"input_tokens": 1e308}, {"output_tokens": -1}, {"input_tokens": "7"},
    {"input_tokens": True}, {"reply": None}, {"reply": ["(a)"]}, {"reply": {"a": "b"}}, {"key": 7}, {"key": ["k"]},
    {"estimated": "no"}, {"seconds": None}, {"seconds": float("inf")}, {"seconds": float("nan")}, {"server": 1},
    {"finish_reason": 3}, {"finish_reason": None}, {"sent_without": ["seed"]}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", TAMPERED, ids=str)
def test_a_tampered_reply_is_counted_and_none(change, tmp_path, caplog):
    lines = [json.dumps({**GOOD, **change}), "[" * 100_000, '"text"', json.dumps({**GOOD, "key": "whole"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    replies = Replies(tmp_path)
    assert [reply.key for reply in replies.all()] == ["whole"]
    assert "a.jsonl: 3 lines are no replies; their questions are asked again" in caplog.text
