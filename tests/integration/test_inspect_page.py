"""The page and the tables of a set whose texts try to break out of them."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, Rating
from jpo_dist.records.inspection import inspect
from jpo_dist.redact import visible
from launcher.show.inspection.page import POLICY, page
from launcher.show.inspection.tables import bins, tables

EVIL = Item.of(
    'Say <script>fetch("http://evil.example")</script> [bold red]now[/] </p></article>\x1b[2J$\\frac{1}{2}$',
    "Right\u202eto left\u202c <img src='http://evil.example/x.png' onerror=alert(1)> \x07 " + "long " * 200,
)
CHAT = Item((Message("system", "Be <b>kind</b>."), Message("user", "Hi\nthere")), "Hello.")


def evil_set(size: int = 40) -> ComparisonSet:
    made = [
        Comparison(
            Item.of(f"question {n}", "word " * (n % 7 + 2)), Item.of(f"question {n}", "word"), source=f"a.jsonl:{n}"
        )
        for n in range(size)
    ]
    groups = (("<b>country</b>", "[red]D\u202eE[/] </td>\x1b[2J"),)
    made += [Comparison(EVIL, CHAT, 0.5, "<i>evil</i>.jsonl:1", confidence=0.7, groups=groups)]
    made += [Comparison(CHAT, EVIL, tie=True, groups=groups)]
    return ComparisonSet.build(made, [Rating(c.winner, n % 5, "<u>scale</u> $x$") for n, c in enumerate(made)])


def inspected() -> dict[str, Any]:
    bad = {"file": "<s>.jsonl", "line": 3, "field": "chosen", "reason": "empty"}
    found = inspect(evil_set(), {"rows": 44, "skipped": {"empty": 2}, "bad_rows": [bad]}, examples=99)
    # The texts under test first: the tables cut nothing off at the end, but a reader looks at the beginning.
    found["examples"].sort(key=lambda row: row["source"].startswith("a.jsonl"))
    found["examples"] = found["examples"][:4]
    return found


class Page(HTMLParser):
    """Every tag with its attributes and all text, as a browser would take them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return page(inspected())


def test_the_page_loads_nothing(html):
    parsed = Page(html)
    names = {name for name, _ in parsed.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "audio", "video", "base", "form", "a"}
    for _, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on")} | {"src", "srcset"} & set(attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    (policy,) = [meta["content"] for meta in parsed.named("meta") if meta.get("http-equiv")]
    assert policy == POLICY
    assert "default-src 'none'" in POLICY


def test_texts_are_shown_and_nothing_of_them_is_html(html):
    parsed = Page(html)
    assert not {name for name, _ in parsed.tags} & {"b", "i", "u", "s", "script", "img"}
    assert "".join(html.split()).count("</article>") == len(parsed.named("article")) == 4
    wanted_texts = (
        '<script>fetch("http://evil.example")</script>',
        "⟨U+202E⟩to left⟨U+202C⟩",
        "⟨U+001B⟩[2J",
        "onerror=",
        "system: Be <b>kind</b>.",
        "<i>evil</i>.jsonl",
        "<s>.jsonl",
        "more characters)",
        "a tie",
        "Scores, <u>scale</u> $x$",
        "Who judged: <b>country</b>",
        "[red]D⟨U+202E⟩E[/] </td>⟨U+001B⟩[2J",
        "0.500 [0.095, 0.905]",  # one tie of two
    )
    for wanted in wanted_texts:
        assert wanted in parsed.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", html)


def test_the_page_can_be_read_by_everybody(html):
    parsed = Page(html)
    assert html.count("<caption>") == len(parsed.named("table")) > 5
    plots = parsed.named("svg")
    assert len(plots) == len(parsed.named("figcaption")) == 6  # two lengths, two degrees, one scale, one bias
    assert all(plot["role"] == "img" and len(plot["aria-label"] or "") > 30 for plot in plots)
    assert "width=device-width" in html
    assert "prefers-color-scheme: dark" in html


def test_plots_take_the_colours_of_the_page_and_never_change(html):
    assert html == page(inspected())
    assert "var(--bar)" in html
    drawn = html[html.index("<svg") :]
    assert not re.findall(r"#0([1-4])0\1(0\1)?\b", drawn)
    assert "dc:date" not in html


def test_ids_are_unique_and_references_find_them(html):
    parsed = Page(html)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = [attributes["xlink:href"] for _, attributes in parsed.tags if "xlink:href" in attributes]
    used += re.findall(r"url\((#[^)]*)", html)
    assert used
    assert {name.removeprefix("#") for name in used if name} <= set(ids)


def test_a_plot_says_in_words_what_it_shows(html):
    labels = [plot["aria-label"] or "" for plot in Page(html).named("svg")]
    assert any(label.startswith("Share won by the longer response: all 1.000 [") for label in labels)
    assert any("Histogram of 82 items from 1" in label for label in labels)


def test_an_empty_set_makes_a_page_and_tables():
    found = inspect(ComparisonSet.build([]))
    assert "0 decided comparisons" in Page(page(found)).text
    assert printed(found, 80)


# --- tables --------------------------------------------------------------------------------------------------------


def printed(inspection: dict[str, Any], width: int) -> str:
    console = Console(width=width, force_terminal=True)
    with console.capture() as captured:
        for table in tables(inspection):
            console.print(table)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert "\x1b" not in plain  # only rich's own colours; the text's [2J would have cleared the screen
    return plain


@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit_and_show_text_as_it_is(width):
    text = printed(inspected(), width)
    assert max(map(len, text.splitlines())) <= width
    flat = re.sub(r"\s+", "", text)
    for wanted in (
        "[boldred]now[/]",
        "⟨U+001B⟩[2J",
        "⟨U+202E⟩",
        "<i>evil</i>.jsonl",
        "morecharacters)",
        "⟨U+0007⟩",
        "whojudged:<b>country</b>",
    ):
        assert wanted in flat
    assert re.search(r"rows read +44\b", text)
    assert re.search(r"conditional +40 +0\.975|conditional +40 +1\.000", text)
    assert "█" in text


def test_many_sources_are_summed_up():
    made = [Comparison(Item.of("q", f"w{n}"), Item.of("q", f"l{n}"), source=f"{n}.jsonl:1") for n in range(30)]
    found = inspect(ComparisonSet.build(made))
    for text in (printed(found, 80), Page(page(found)).text):
        assert "and 18 more" in text


def test_an_overlap_of_splits_is_called_wrong():
    found = inspected() | {"split_overlap": {"train and test": 3}}
    assert "3 (must be 0)" in printed(found, 80)
    assert '<dd class="bad">3 (must be 0)</dd>' in page(found)
    found |= {"split_overlap": {"train and test": 0}}
    assert 'class="bad"' not in page(found)
    assert "2 (must be 0)" in printed(found | {"split_inside": {"test": 2}}, 80)


def test_bins_name_the_values_in_them():
    assert bins({"edges": [-3, -2, -1, 4, 6]}) == [("-3", ""), ("-2", ""), ("-1", "3"), ("4", "5")]
    assert bins({"edges": [0.0, 0.25, 1.0]}) == [("0", "0.25"), ("0.25", "1")]


def test_joined_emoji_and_scripts_stay_and_control_characters_do_not():
    assert visible("👩\u200d🔬 می\u200cخواهم\tx\r\ny") == "👩\u200d🔬 می\u200cخواهم\tx\ny"
    assert visible("a\rb\u200bc\x9bd") == "a⟨U+000D⟩b⟨U+200B⟩c⟨U+009B⟩d"
