"""The pages of a study's report: Markdown with its figures beside it, and HTML that needs no other file."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpo_dist.folders import together
from launcher.show import html as pages
from launcher.show import sections as forms
from launcher.show.study.figures import figures
from launcher.show.study.tables import sections

READING = "reading.md"


def write(report: dict[str, Any], folder: Path, name: str = "report.md", also_html: bool = True) -> list[Path]:
    """Write the page `name`, the figures and, where wanted, report.html to `folder`. Returns their paths."""
    with together(folder) as files:  # a page never links to figures of another report
        made = figures(report, files.folder)
        names = [name, *(path.name for path in made)]
        files.write(name, text(report, names[1:], reading_in(folder)))
        if also_html:
            found = sections(report)
            body = [*map(forms.as_html, found[:1]), *map(_embedded, made), *map(forms.as_html, found[1:])]
            files.write("report.html", pages.framed(_title(report), "\n".join(body)))
            names.insert(1, "report.html")
    return [folder / one for one in names]


def reading_in(folder: Path) -> str:
    """What a person has written about the figures, in reading.md; empty: nothing."""
    file = folder / READING
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def text(report: dict[str, Any], linked: Sequence[str], reading: str = "") -> str:
    """The page as Markdown: after the answer the reading, then links to these figures, then all tables."""
    whole = forms.markdown(_title(report), sections(report))
    heading = "" if reading.startswith("#") else "## Reading\n\n"
    between = f"{heading}{reading}\n\n" if reading else ""
    between += "".join(f"![{link.partition('.')[0]}]({link})\n\n" for link in linked)
    return whole.replace("\n## Arms", f"\n{between}## Arms", 1)


def _title(report: dict[str, Any]) -> str:
    return f"Study {report['study']}"


def _embedded(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'
