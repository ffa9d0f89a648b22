"""The judge's pure parts: prompts, labels, the rule of both orders, the budget, the store, and the report's numbers."""

import itertools
import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.data.checker import JudgeError
from jpo_dist.endpoint.budget import Budget, Spent, left_of
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig
from jpo_dist.endpoint.replies import Replies, Reply
from jpo_dist.evaluate.constraints import constraints_held
from jpo_dist.judge import report as judge_report
from jpo_dist.judge.asking import parts_of
from jpo_dist.judge.config import JudgeConfig, PromptsConfig
from jpo_dist.judge.judging import judge, write
from jpo_dist.judge.questions import fill, letter_in, prompt_of, read_prompts, request_of
from jpo_dist.judge.reward_model import batches_of
from jpo_dist.judge.verdict import Candidate, Judged, in_shown_order, outcome_of
from jpo_dist.records.comparisons import Comparison, Item, Message
from jpo_dist.records.folder import read_set
from launcher.show import judge_page
from tests.support.openai_server import answers_in

PROMPTS = read_prompts(PromptsConfig())
PEAR, MUD, ROPE = (
    Item.of("Name a fruit.", "A pear."),
    Item.of("Name a fruit.", "Mud."),
    Item.of("Name a thing.", "Rope"),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


# ---- labels


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(a)", "a"),
        ("(B)", "b"),
        ("  b.\n", "b"),
        ("**(a)**", "a"),
        ("[[A]]", "a"),
        ("Output (b)", "b"),
        ("Answer: (a)", "a"),
        ("Final answer: **B**", "b"),
        ("The better answer is (b).", "b"),
        ("(b) is better.", "b"),
        ("Pair (a) is the better pair", "a"),
        ("（ａ）", "a"),
        ("b)", "b"),
        ("(a)\n(a)", "a"),
        ("Answer (a) says more, answer (b) is rude.\n\nVerdict: (a)", "a"),
        ("<think>(b)\nno, rather</think>\n(a)", "a"),
        ("", None),
        ("(a)\n(b)", None),
        ("(a) or (b)", None),
        ("(a) is worse", None),
        ("(a) is not better", None),
        ("A good answer.", None),
        ("Both are fine.", None),
        ("ab", None),
        ("(c)", None),
        ("<think>(a)", None),
        ("I would say a", None),
    ],
)
def test_a_label_is_a_whole_line_and_only_one(reply, letter):
    assert letter_in(reply) == letter


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_reading_a_reply_never_fails(reply):
    assert letter_in(reply) in ("a", "b", None)


# ---- prompts


@settings(max_examples=200, deadline=None)
@given(
    TEXT, TEXT, st.sampled_from(["{response_b}", "{instruction}", "{0}", "{}", "%s", "{a.__class__}", "\\1", "\\g<0>"])
)
def test_item_text_stands_in_the_prompt_as_it_is(text, other, trap):
    """Cut at the fields, the template's own text and the values alternate: nothing was expanded, dropped or escaped."""
    a, b = Item.of(f"{trap}{text}", trap + other), Item.of(f"{trap}{text}", other + trap + "!")
    expected = PROMPTS.conditional.split("{instruction}", 1)
    head, rest = expected[0], expected[1]
    middle, rest = rest.split("{response_a}", 1)
    between, tail = rest.split("{response_b}", 1)
    assert prompt_of(PROMPTS, a, b) == head + f"{trap}{text}" + middle + a.response + between + b.response + tail


def test_fields_may_repeat_and_other_braces_stay():
    assert fill('{x} {x} {"k": 1} {unknown}', {"x": "1"}) == '1 1 {"k": 1} {unknown}'


def test_joint_prompt_shows_whole_items_and_turns_with_roles():
    chat = Item((Message("system", "Be kind."), Message("user", "Hi")), "Hello")
    prompt = prompt_of(PROMPTS, chat, ROPE)
    assert "System: Be kind.\n\nUser: Hi" in prompt
    assert answers_in(prompt) == ("Hello", "Rope")
    assert prompt.index("Hello") < prompt.index("Name a thing.") < prompt.index("Rope")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{instruction} {response_a}", r"lacks \{response_b\}"),
        (
            "{instruction} {response_a} {response_b} {respons_a}",
            r"\{respons_a\} is not a field.*did you mean \{response_a",
        ),
    ],
)
def test_a_template_that_cannot_work_is_named(tmp_path, text, message):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_prompts(PromptsConfig(conditional=str(tmp_path / "mine.txt")))


def test_the_order_shown_depends_on_content_only_and_is_balanced():
    items = [Item.of(f"i{n}", "r") for n in range(60)]
    first_shown = [in_shown_order(a, b)[0] for a, b in itertools.combinations(items, 2)]
    assert first_shown == [in_shown_order(b, a)[0] for a, b in itertools.combinations(items, 2)]
    often = [first_shown.count(item) for item in items]
    assert max(often) < 50  # of 59: no item always stands first
    assert min(often) > 10


def test_a_request_is_known_by_all_that_is_sent():
    config = EndpointConfig(model="m")
    keys = {
        request_of("p", 0, config, "again").key,
        request_of("p", 1, config, "again").key,
        request_of("p", 2, config, "again").key,
        request_of("q", 0, config, "again").key,
        *(
            request_of("p", 0, EndpointConfig(**{"model": "m", **change}), "again").key
            for change in ({"model": "n"}, {"temperature": None}, {"max_tokens": 9}, {"seed": None}, {"name": "mine"})
        ),
    }
    assert len(keys) == 9
    elsewhere = [EndpointConfig(model="m", name="mine", base_url=url) for url in ("http://a/v1", "http://b/v1/")]
    assert len({request_of("p", 0, one, "again").key for one in elsewhere}) == 1
    same = EndpointConfig(model="m", timeout_s=1, concurrency=99, max_retries=0, input_price=3)
    assert request_of("p", 0, same, "again").key == request_of("p", 0, config, "other reminder").key
    body = request_of("p", 2, config, "again").body
    assert (body["messages"], body["seed"]) == ([{"role": "user", "content": "p\n\nagain"}], 2)


# ---- the rule


def test_the_rule_of_both_orders_on_all_its_cases():
    def expected(x, y):
        if "!" in (x, y):
            return "failed"
        if "-" in (x, y):
            return "not asked"
        if "?" in (x, y):
            return "unparsable"
        return "tie" if x == y else "decided"

    for x, y in itertools.product("ab?-!", repeat=2):
        assert outcome_of(x + y) == expected(x, y)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"endpoint": {}}, "endpoint.model .* is needed with kind=llm"),
        ({"kind": "checker"}, "must be module:function"),
        ({"kind": "reward_model"}, "reward_model.path"),
        ({"endpoint": {"model": "m"}, "budget": {"max_cost": 1}}, "would never be reached"),
        ({"endpoint": {"model": "m", "base_url": "http://ann:hunter2@host/v1"}}, "has a user, a query"),
        ({"endpoint": {"model": "m", "base_url": "http://host/v1?key=hunter2"}}, "has a user, a query"),
        ({"endpoint": {"model": "m", "base_url": "host/v1"}}, "is not an address"),
    ],
)
def test_configs_that_cannot_work(bad, message):
    with pytest.raises(ValueError, match=message) as raised:
        JudgeConfig.model_validate({"candidates": "c", "output": "o", **bad})
    if "hunter2" in json.dumps(bad):
        assert "hunter2" not in raised.value.errors()[0]["msg"]


# ---- checkers


def by_length(item: Item) -> float | None:
    return None if "?" in item.response else float(len(item.response))


def broken(item: Item) -> float:
    raise ZeroDivisionError("oh")


def infinite(item: Item) -> float:
    return float("inf")


def checker(function, band=0.0):
    settings = {"function": f"tests.unit.judge.test_judging:{function}", "tie_band": band}
    return JudgeConfig.model_validate({"candidates": "c", "output": "o", "kind": "checker", "checker": settings})


def test_a_checker_decides_ties_and_cannot_tell(tmp_path):
    r = [Item.of("i", text) for text in ("aaaa", "bb", "ccc", "?")]
    candidates = [Candidate(r[1], r[0], "f:1"), Candidate(r[0], r[2], "f:2"), Candidate(r[0], r[3], "f:3")]
    judged, report = judge(candidates, checker("by_length", 1.0), tmp_path)
    assert [one.outcome for one in judged] == ["decided", "tie", "unparsable"]
    assert judged[0].comparison == Comparison(
        r[0], r[1], source="f:1", origin="judged", annotator="tests.unit.judge.test_judging:by_length"
    )
    assert judged[1].comparison is not None
    assert (judged[1].comparison.tie, judged[1].comparison.winner) == (True, in_shown_order(r[0], r[2])[0])
    write(judged, report, tmp_path)
    built = read_set(tmp_path)
    assert built.is_tie_C.tolist() == [False, True]
    assert built.comparisons["origin"].to_pylist() == ["judged", "judged"]
    lines = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [line["winner"] for line in lines] == [r[0].id, None, None]


@pytest.mark.parametrize(
    ("function", "message"),
    [("broken", "ZeroDivisionError: oh"), ("infinite", "returned inf"), ("missing", "correct the name")],
)
def test_a_checker_that_cannot_be_used(tmp_path, function, message):
    with pytest.raises(JudgeError, match=message):
        judge([Candidate(PEAR, MUD, "f:1")], checker(function), tmp_path)


def test_an_item_is_not_compared_with_itself(tmp_path):
    with pytest.raises(ValueError, match="f:7: both items"):
        judge([Candidate(PEAR, PEAR, "f:7")], checker("by_length"), tmp_path)


def test_constraints_held_is_a_checker():
    asks = 'Name a fruit. Use at most 2 words. Do not use the word "mud".'
    assert [constraints_held(Item.of(asks, text)) for text in ("A pear", "Mud", "A lot of mud")] == [1.0, 0.5, 0.0]
    assert constraints_held(PEAR) is None


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_limit(lengths, most):
    batches = batches_of(lengths, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= most for batch in batches)


# ---- budget


def test_a_budget_waits_for_those_under_way_and_then_stops():
    config = EndpointConfig(model="m", input_price=1.0)
    budget = Budget(BudgetConfig(max_tokens=100), config, Spent(1, 40, 0.0))
    assert budget.begin()
    assert budget.begin()  # 2 x 40
    third: list[bool] = []
    thread = threading.Thread(target=lambda: third.append(budget.begin()))
    thread.start()
    budget.end(reply_of(10, key="x"))  # 10 spent, 40 under way: room for one more of 40
    thread.join(10)
    assert third == [True]
    budget.end(reply_of(30))
    budget.end(reply_of(30))
    assert not budget.begin()  # 70 spent, 110 > 100
    assert budget.spent == Spent(3, 70, pytest.approx(70e-6))
    assert budget.exhausted == "budget.max_tokens"


def reply_of(tokens: int, key: str = "k") -> Reply:
    return Reply(key, "(a)", tokens, 0, False, 0.1, "s")


@pytest.mark.parametrize(("limit", "spent", "left"), [(10, 4, 6), (10, 10, None), (10, 12, None), (None, 4, None)])
def test_what_is_left(limit, spent, left):
    rest = left_of(BudgetConfig(max_requests=limit), Spent(spent, 0, 0.0))
    assert (rest.max_requests if rest else None) == left
    assert (rest is None) == (limit is not None and left is None)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_parts_add_up(total, parts):
    assert sum(parts_of(total, parts)) == total
    assert max(parts_of(total, parts)) - min(parts_of(total, parts)) <= 1


# ---- the store


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


# ---- the report


def verdict(first: Item, second: Item, letters: str) -> Judged:
    x, y = in_shown_order(first, second)
    outcome = outcome_of(letters)
    made = None
    if outcome in ("decided", "tie"):
        made = Comparison(*((y, x) if letters == "ba" else (x, y)), tie=outcome == "tie")
    return Judged(Candidate(first, second, "s"), outcome, made, letters)


def beats(winner: Item, loser: Item) -> Judged:
    return verdict(winner, loser, "ab" if in_shown_order(winner, loser)[0] == winner else "ba")


def test_position_bias_by_hand():
    """6 x first, 2 x second, 2 x split over 10 comparisons: (6 + 1) / 10."""
    found = judge_report.position(["aa"] * 6 + ["bb"] * 2 + ["ab", "ba", "a?", "--"])
    assert (found["comparisons"], found["always_first"], found["always_second"]) == (10, 6, 2)
    assert found["first_rate"] == pytest.approx(0.7)
    half = 1.96 * np.std([1.0] * 6 + [0.0] * 2 + [0.5] * 2) / 10**0.5
    assert found["interval"] == pytest.approx([0.7 - half, min(1.0, 0.7 + half)])
    assert judge_report.position(["", "-a"])["first_rate"] is None


def test_interplay_by_hand():
    """i_c beats i_r within each of three instructions; then across."""
    c = [Item.of(f"instruction {n}", "good") for n in range(3)]
    r = [Item.of(f"instruction {n}", "bad") for n in range(3)]
    new = Item.of("other", "x")
    judged = [beats(a, b) for a, b in zip(c, r, strict=True)]
    judged += [beats(c[0], c[1]), verdict(c[1], c[2], "aa"), verdict(r[0], r[1], "bb"), verdict(r[0], r[2], "a?")]
    judged += [beats(c[0], r[1]), beats(r[2], c[1]), beats(c[2], r[0]), verdict(c[0], r[2], "aa"), beats(new, c[0])]
    found = judge_report.interplay(judged)
    assert found["chosen vs chosen"] == {"decided": 1, "tie": 1, "decisiveness": 0.5}
    assert found["rejected vs rejected"] == {"decided": 0, "tie": 1, "decisiveness": 0.0}
    mixed = {"decided": 3, "tie": 1, "decisiveness": 0.75, "chosen_wins": 2, "chosen_wins_rate": 2 / 3}
    assert found["chosen vs rejected"] == mixed
    assert found["unknown"]["decided"] == 1


def test_an_item_that_won_and_lost_has_no_role():
    a, b, c = (Item.of("i", text) for text in "abc")
    other = Item.of("j", "x"), Item.of("j", "y")
    judged = [beats(a, b), beats(b, c), beats(*other), beats(b, other[0]), beats(a, other[0])]
    found = judge_report.interplay(judged)
    assert (found["unknown"]["decided"], found["chosen vs chosen"]["decided"]) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_triads_equal_those_counted_one_by_one(size, seed):
    rng = random.Random(seed)
    edges = [p if rng.random() < 0.5 else p[::-1] for p in itertools.combinations(range(size), 2) if rng.random() < 0.7]
    known = set(edges)
    cyclic = total = 0
    for u, v, w in itertools.combinations(range(size), 3):
        wins = [sum((x, y) in known for y in (u, v, w)) for x in (u, v, w)]
        if sum(wins) == 3:
            total += 1
            cyclic += wins == [1, 1, 1]
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert judge_report.count_triads(ends[:, 0], ends[:, 1], size) == (cyclic, total)


def test_triads_of_many_comparisons_with_a_hub_are_counted_quickly():
    """100,000 comparisons, half of them of one item with all others; expected values by the formula below.

    Others form a ring 1 > 2 > ... > n > 1; the hub beats the even ones: a triad (hub, i, i+1) is a cycle when the hub
    beats i, i beats i+1 and i+1 beats the hub: i even, i+1 odd.
    """
    n = 50_000
    ring = np.arange(1, n + 1)
    even = ring % 2 == 0
    winners = np.concatenate([ring, np.where(even, 0, ring)])
    losers = np.concatenate([np.roll(ring, -1), np.where(even, ring, 0)])
    assert judge_report.count_triads(winners, losers, n + 1) == (n // 2, n)


def test_similarity_bins():
    same = Item.of("sort a list of numbers", "x"), Item.of("sort a list of numbers", "y")
    far = Item.of("bake bread", "x")
    near = Item.of("numbers a list sort of", "z")  # the same bag of words
    judged = [beats(*same), verdict(same[0], far, "aa"), beats(same[0], near), verdict(far, same[1], "a?")]
    rows = {(row["protocol"], row["from"]): row for row in judge_report.by_similarity(judged)}
    assert (rows["conditional", 1.0]["decided"], rows["conditional", 1.0]["decisiveness"]) == (1, 1.0)
    assert (rows["joint", 0.7]["decided"], rows["joint", 0.0]["tie"], rows["joint", 0.0]["candidates"]) == (1, 1, 2)
    assert sum(row["candidates"] for row in rows.values()) == 4


def test_similarities_are_cosines_of_tfidf():
    """Idf of sklearn, 1 + ln((1 + n) / (1 + df)): n = 2 texts; `a` in both (1), `b` and `c` in one (1 + ln 1.5)."""
    idf = 1 + np.log(1.5)
    found = judge_report.similarities([(Item.of("a b", "x"), Item.of("a c", "y"))])
    assert found == pytest.approx([1 / (1 + idf**2)])
    assert judge_report.similarities([(Item.of("!", "x"), Item.of("?", "y"))]) == pytest.approx([0.0])
    assert len(judge_report.similarities([])) == 0


def test_the_report_adds_up_and_its_page_stands_alone():
    a, b, c = (Item.of("i", f"<script>{n}") for n in range(3))
    judged = [beats(a, b), beats(b, c), beats(c, a), beats(c, a), verdict(a, PEAR, "?a"), verdict(b, PEAR, "--")]
    report = judge_report.report(judged, "judge<1>")
    outcomes = report["outcomes"]
    assert sum(outcomes[name] for name in judge_report.OUTCOMES) == report["candidates"] == 6
    assert (report["repeated_candidates"], outcomes["decided"], outcomes["not asked"]) == (1, 4, 1)
    assert report["transitivity"] == {"triads": 1, "cyclic": 1, "cyclic_rate": 1.0}
    assert outcomes["decided_rate"] == pytest.approx(4 / 5)
    json.dumps(report, allow_nan=False)
    page = judge_page.page(report)
    assert page == judge_page.page(report)
    assert "judge&lt;1&gt;" in page
    assert page.count("data:image/png;base64,") == 4
    assert not any(text in page for text in ("http:", "https:", "<script", "{outcomes}"))
    assert set(judge_page.figures(report)) == {"outcomes", "position", "similarity", "interplay"}
    assert judge_report.metrics(report)["judge/first_rate"] == 0.5


def test_a_report_of_nothing():
    report = judge_report.report([], "j")
    assert report["position"]["first_rate"] is None
    assert "0 candidates" in judge_page.page(report)


def test_packaged_templates_are_files_of_the_package():
    assert sorted(p.name for p in (Path(judge_report.__file__).parent / "prompts").iterdir()) == [
        "again.txt",
        "conditional.txt",
        "joint.txt",
    ]
