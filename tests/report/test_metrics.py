"""The report of any metrics file: curves by layer, safe against names, whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app
from entropilot.errors import InputError
from entropilot.report.metric_series import metric_series
from entropilot.report.metrics import layer_colours, render_metrics, short_number

ROWS: list[dict[str, Any]] = [
    {"step": s, "loss": 2.0 / s, "collapse/nc1@fc": 10.0**-s, "collapse/nc1@head": 1.0 + s}
    for s in (1, 2, 3)
]


def test_every_quantity_has_a_picture_a_line_a_layer_and_a_row() -> None:
    page = render_metrics(ROWS)
    assert page.count("<svg") == 2
    assert "3 quantities" not in page
    assert "2 quantities at 2 layers, steps 1 to 3" in page
    assert "scatter within classes over scatter between them" in page
    picture = page[page.index('id="collapse-1-0-title"') :]
    assert picture[: picture.index("</svg>")].count('class="line own') == 2
    assert "10⁻³" in picture  # six decades are drawn in powers of ten
    assert re.search(r"<td class=\"n\">0\.001</td>", page)


def test_rows_of_one_step_and_rl_rows_are_read() -> None:
    rows = [{"step": 1, "reward": 0.5}, {"step": 1, "mine/x@a": 1}, {"step": 2, "mine/x@a": None}]
    found = {s.quantity: s for s in metric_series(rows)}
    assert found["reward"].meaning.startswith("mean reward")
    assert found["mine/x"].meaning == ""
    assert found["mine/x"].points == {"a": [(1.0, 1.0)]}
    assert "mine" in render_metrics(rows).lower()


def test_many_layers_are_told_by_depth() -> None:
    rows = [{"step": s, **{f"a/b@blocks.{i}": s * i for i in range(12)}} for s in (1, 2)]
    page = render_metrics(rows)
    assert "own s0" in page
    assert "own s4" in page
    assert len(set(layer_colours([str(i) for i in range(12)]).values())) == 5
    assert page.count(">blocks.3</text>") == 0  # only the ends are named in the picture
    assert page.count(">blocks.11</text>") == 1


def test_hostile_names_are_escaped_and_no_script_may_run() -> None:
    page = render_metrics([{"step": 1, "<script>alert(1)</script>/x@<b>": 1.0, "\u202eevil": 2}])
    assert "<script" not in page
    assert "<b>" not in page.split("</style>")[1]
    assert "\u202e" not in page
    assert "default-src &#39;none&#39;; style-src &#39;sha256-" in page  # no script-src at all


def test_refusals_of_meters_are_said() -> None:
    page = render_metrics([{"step": 1, "collapse/failed@fc": 1.0, "loss": 1.0}])
    assert "collapse could not measure fc at 1 of 1 recorded steps" in page


def test_files_without_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="no rows with numbers"):
        render_metrics([])
    with pytest.raises(InputError, match="no rows with numbers"):
        render_metrics([{"step": 1, "note": "text"}])


def test_huge_and_tiny_numbers_fit_beside_their_axis() -> None:
    rows = [{"step": 1, "a": 1e7, "b": 1e-7}, {"step": 2, "a": 1.5e7, "b": 1.5e-7}]
    labels = re.findall(r'class="tick"[^>]*>([^<]*)<', render_metrics(rows))
    assert {"1.6e+07", "1.6e-07"} <= set(labels)
    assert max(map(len, labels)) <= 8


def test_numbers_that_no_axis_holds_are_left_out() -> None:
    rows = [{"step": 1, "a": -1.7e308, "b": 10**400, "c": 1}, {"step": 2, "a": 1.7e308, "c": 2}]
    found = {s.quantity: s.values for s in metric_series(rows)}
    assert found == {"a": [], "b": [], "c": [1.0, 2.0]}
    assert "3 quantities" in render_metrics(rows)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (-0.05, "-0.05"), (123.4, "123"), (1e9, "1e+09"), (99.96, "100")],
)
def test_numbers_are_short(value: float, said: str) -> None:
    assert short_number(value) == said


def test_the_command_writes_the_page_beside_the_file(tmp_path: Path) -> None:
    source = tmp_path / "metrics.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = CliRunner().invoke(app, ["report", str(source)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "metrics.html").read_text().startswith("<!doctype html>")
    bad = CliRunner().invoke(app, ["report", str(tmp_path / "none.jsonl")])
    assert bad.exit_code == 2
    source.write_text('{"loss": 1}\n{"step": 2}\n')
    assert (
        CliRunner().invoke(app, ["report", str(source), "-o", str(tmp_path / "b.html")]).exit_code
        == 2
    )
    assert not (tmp_path / "b.html").exists()
