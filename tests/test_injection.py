"""Texts of strangers in every output: shown, and never obeyed."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables, to_latex
from colbert_lab.analysis.figures import new_figure
from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.analysis.ledger.table import ledger_csv, ledger_json, ledger_table
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.layout import Markdown, Table, csv_text, escaped, harmless, print_tables, to_markdown
from colbert_lab.base.logs import logged_to, start_logging
from colbert_lab.base.outside import UNSEEN, one_line, printable
from colbert_lab.publish.card import _code, numbers, protocol
from colbert_lab.publish.history import find_history
from colbert_lab.publish.origin import lineage, made_with
from colbert_lab.publish.recipe import command, data_lines, recipe_table
from colbert_lab.records.records import read_records
from colbert_lab.studies.answer import answer
from colbert_lab.studies.pages import to_html
from colbert_lab.studies.reading import read_study
from colbert_lab.tracking.tracking import safe_name, short_tag, shown_name, wandb_id
from tests.publish.made_run import write_run as write_published
from tests.records.run_folders import write_run
from tests.studies.made_up import made_study

INJECTIONS = (
    "\x1b[2J\x1b]0;title\x07cleared", "\x9b31mred", "back\x08space", "line\r\nbreak\n# heading", "\u202etxt.exe",
    "half \ud83d", "nul\0", "a\u2028b", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "</td></table><svg/onload=x>", "![pixel](https://evil.example/x.png)", "[click](javascript:alert(1))",
    "[ref]: javascript:alert(1)", "<https://evil.example>", "a\\|b | c", "``` \n</code>", "=cmd|' /C calc'!A0",
    "+1+cmd", "-2+3+cmd", "@SUM(A1)", "\t=1+1", "\r=1+1", "＝1+1", "*\\input{/etc/passwd}",
    "\\write18{id} $x$ {} % # & ~ ^ _", "$\\frac{$", '--- "quoted"', "{{ 7*7 }}{% raw %}",
)  # fmt: skip
PLAIN = {
    *(
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "ol",
        "li",
        "hr",
        "blockquote",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ),
    *("code", "pre", "em", "strong", "a"),
}
SEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless_text(text: str) -> None:
    assert not SEEN.search(text), ascii(SEEN.search(text))
    text.encode()


class Tags(HTMLParser):
    """Every tag, its attributes and where links and pictures go."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def markdown_is_harmless(text: str, links: int = 0) -> None:
    """As a page that allows HTML shows it, as GitHub does."""
    harmless_text(text)
    shown = Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert shown.tags <= PLAIN, text
    assert ("a" in shown.tags) == bool(links), text


def table_of(text: str) -> Table:
    return Table(text, ("system", text), ((text, "0.5 [0.4, 0.6]"), (f"  {text}", text)), (text,), (text,))


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_each_text_in_each_format(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(text)
    screen = Console(file=io.StringIO(), width=200, force_terminal=False)
    print_tables([table], screen)
    harmless_text(screen.file.getvalue())  # type: ignore[attr-defined]
    markdown = to_markdown([table])
    markdown_is_harmless(markdown)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    rendered = MarkdownIt("commonmark").enable("table").render("\n".join(rows))
    assert rendered.count("<td") == 4  # bars in it make no cell
    markdown_is_harmless(escaped(text))
    latex_is_harmless(to_latex([table]))
    for row in csv.reader(io.StringIO(csv_text([[text, 1.5, -0.5, None, "-0.25", "-"]]))):
        assert not row[0].strip().startswith(("=", "+", "-", "@", "＝", "＋"))
        harmless_text("".join(row))
        assert row[1:] == ["1.5", "-0.5", "", "-0.25", "-"]
    for name in (shown_name(text), short_tag(text * 9), printable(text, "\n")):
        harmless_text(name)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", wandb_id(text.replace("\ud83d", ""), text, "distill"))
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", safe_name(f"student-{text}"))
    assert "```" not in _code(text)
    harmless_text(_code(text))
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.set_title(text)
    axes.plot([0, 1], label=text)
    axes.legend()
    figure.savefig(tmp_path / "x.svg")
    assert b"<script" not in (tmp_path / "x.svg").read_bytes()
    buffer = start_logging()
    with logged_to(tmp_path / "run.log", buffer):
        logging.getLogger("colbert_lab").warning("%s is skipped", text)
    harmless_text((tmp_path / "run.log").read_text())
    harmless_text(capsys.readouterr().err)


def latex_is_harmless(text: str) -> None:
    harmless_text(text)
    known = {
        "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "quad", "textit", "multicolumn",
        "par", "footnotesize", "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater",
        "textbar", "textquotedbl", "usepackage", "addlinespace",
    }  # fmt: skip
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= known
    assert not re.search(r"\\\\\s*[*\[]", text)  # a star or a bracket after a row's end would be its argument


def test_markdown_of_ours_stays() -> None:
    assert harmless(Markdown("[a](b)")) == "[a](b)"
    assert "| [a](b) | x |" in to_markdown([Table("t", ("a", "b"), ((Markdown("[a](b)"), "x"),), (), ())])
    note = "[low, high]: 95% bootstrap interval over queries."
    assert harmless(note) == note
    assert harmless("0.5 [0.4, 0.6] a<b 1 < 2") == "0.5 [0.4, 0.6] a&lt;b 1 < 2"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return strange_outputs(tmp_path_factory.mktemp("strange") / "outputs")


def strange_outputs(outputs: Path) -> Path:
    """Runs whose every text is a stranger's."""
    for config, gain in (("a", 0.1), ("b", 0.2)):
        factors = {each: each for each in INJECTIONS[:-1]} | {INJECTIONS[-1]: config}
        run = write_run(outputs, config, 1, factors, {"distill": {"test": gain}})
        lines = []
        for n, record in enumerate(read_records(run / "results.jsonl")):
            text = INJECTIONS[n % len(INJECTIONS)]
            strange: dict[str, Any] = {
                "system_name": text,
                "hardware": text,
                "commit": "\x1b[2J",
                "name": INJECTIONS[0],
            }
            if record.system == "student":
                strange |= {"dataset": "<script>alert(1)</script>", "name": "".join(INJECTIONS) + config}
            lines.append(json.dumps(record.to_dict() | strange) + "\n")
        (run / "results.jsonl").write_text("".join(lines))
        about = {"factors": factors, "schedule": ["distill", "../../../etc"], "headline": "test/ndcg@10"}
        status = {
            "status": "failed" if config == "c" else "finished",
            "error": "".join(INJECTIONS),
            "run": about,
        }
        (run / "status.json").write_text(json.dumps(status))
        splits = {"test": {"dataset": "".join(INJECTIONS), "split": "".join(INJECTIONS), "documents": 8}}
        (run / "splits.json").write_text(json.dumps(splits))
    return outputs


def test_runs_compare_and_tables_of_strange_records(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = read_ledger(outputs)
    assert all(list(entry.costs) == ["distill"] for entry in entries)  # a phase is no way out of the folder
    columns = Columns(entries)
    comparison = compare_runs([outputs / "study"], systems=["student", "bm25"], allow_different=True)
    tables = [
        ledger_table(
            columns, entries, ["run", "name", "factors", "commit", "hardware", "error"], str(outputs)
        ),
        *comparison_tables(comparison),
        *run_tables(entries[0].path),
    ]
    print_tables(tables)
    harmless_text(capsys.readouterr().out)
    markdown_is_harmless(to_markdown(tables))
    latex_is_harmless(to_latex(tables))
    for text in (ledger_csv(columns, entries, None), comparison_csv(comparison)):
        harmless_text(text)
        for row in csv.reader(io.StringIO(text)):
            assert not [cell for cell in row if re.match(r"\s*[=@＝＋]|\s*[+-][^\d.]", cell)]
    listed = ledger_json(columns, entries, None)
    harmless_text(listed)
    assert json.loads(listed)[0]["factors"] == dict(entries[0].factors)  # of data, nothing is lost


def test_the_page_of_a_strange_study(tmp_path: Path) -> None:
    strange = "".join(each for each in INJECTIONS if "\ud83d" not in each and "\0" not in each)
    study = made_study(tmp_path / "made", (1,))
    rows = (study.folder / "runs.jsonl").read_text().replace("Some CPU", json.dumps(strange)[1:-1])
    (study.folder / "runs.jsonl").write_text(rows)
    text = (study.folder / "study.yaml").read_text()
    text = text.replace("It is made up.", "'<script>alert(1)</script> ![x](https://evil.example) \\e'")
    (study.folder / "study.yaml").write_text(text)
    page = to_html(answer(read_study(study.folder)))
    harmless_text(page)
    found = Tags(page)
    assert not found.tags & {"script", "img", "iframe", "a"}
    assert not [name for name in found.attributes if name.startswith("on") or name == "src"]
    assert all(where.startswith("#") for where in re.findall(r'xlink:href="([^"]*)"', page))


def test_the_parts_of_a_card_of_a_strange_run(tmp_path: Path) -> None:
    strange = "".join(INJECTIONS)
    data = {"distill": {"path": strange.replace("\ud83d", ""), "_target_": "<script>"}}
    run = write_published(tmp_path / "outputs" / "made" / "cc-s1", data=data)
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {
            "system_name": strange,
            "dataset": strange,
            "factors": {strange: strange, "experiment": strange},
        }
    (run / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = {"commit": strange, "hardware": strange, "python": strange, "packages": {"torch": strange}}
    (run / "environment.json").write_text(json.dumps(environment))
    phase = json.loads((run / "distill" / "phase.json").read_text()) | {"reused_from": strange}
    (run / "distill" / "phase.json").write_text(json.dumps(phase))
    history = find_history(run / "distill" / "student")
    assert history is not None
    tables = to_markdown([recipe_table(history), *numbers(history)])
    for text in (
        tables,
        protocol(history),
        made_with(history),
        *(harmless(one_line(d)) for _, d in data_lines(history)),
    ):
        markdown_is_harmless(text)
    for line in lineage(history)[1:]:
        markdown_is_harmless(line)
    assert not UNSEEN.search(_code(command(history)).replace("\n", ""))
