"""The report in a terminal: tokens coloured by entropy, the headline, the first flagged traces.

Texts are plain ``rich`` text, never markup, and hold no control code: what a model wrote can
neither move the cursor nor set the title of a window.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entropilot.diagnosis.assessment import Assessment
from entropilot.report import sentences
from entropilot.report.tokens import LEVELS, TraceView, shown_ranges, span_levels
from entropilot.report.visible import prose, visible
from entropilot.report.wording import ABSENT, count, decimal, percent

#: Ink on paper for the nine levels. The colours are those of the page in the dark. Every pair is
#: legible on its own, so that a light terminal shows them too; level 0 keeps the terminal's own.
STYLES: Final = (
    "",
    "#e8e6e1 on #2a2140",
    "#f2f0ec on #40286a",
    "#ffffff on #414487",
    "#ffffff on #31648c",
    "#0d0f11 on #2a9d8a",
    "#0d0f11 on #44bf70",
    "#0d0f11 on #a5db36",
    "#0d0f11 on #fde725",
)


def heatmap(view: TraceView, *, measure: str = "entropy", cap: int = 2000) -> Text:
    """The tokens of a trace, coloured; the peak is underlined and bold.

    Args:
        view: the trace.
        measure: by which it is coloured: a key of ``LEVELS``.
        cap: tokens shown at most, around the start and the peak.

    Examples:
        >>> import numpy as np
        >>> from entropilot.report.tokens import TraceView
        >>> from entropilot.report.visible import spans
        >>> calm, wild = 0.0, 2.7
        >>> view = TraceView("t", (), "", "", "", True, tuple(spans([b"yes", b" no"])),
        ...     *(np.array([calm, wild]) for _ in range(4)), ((), ()), (), 1)
        >>> heatmap(view).plain
        'yes no'
    """
    text = Text(no_wrap=False, overflow="fold")
    reached = 0
    for start, stop in shown_ranges(len(view), view.peak, cap):
        if start > reached:
            text.append(f"\n… {start - reached:,} tokens not shown …\n", "dim")
        reached = stop
        for span, level in zip(view.spans, span_levels(view, measure), strict=True):
            if not (start <= span.first and span.last < stop):
                continue
            peak = view.peak is not None and span.first <= view.peak <= span.last
            style = STYLES[max(level, 0)]
            text.append(span.text, f"bold underline {style}".strip() if peak else style)
    if reached < len(view):
        text.append(f"\n… {len(view) - reached:,} tokens not shown …", "dim")
    return text


def legend(measure: str = "entropy") -> Text:
    """The colours with the nats at which each begins.

    Examples:
        >>> legend("surprisal").plain[:30]
        'surprisal, nats from  0  0.05 '
    """
    text = Text(f"{measure}, nats from ", "dim")
    for edge, style in zip((0.0, *LEVELS[measure]), STYLES, strict=True):
        text.append(f" {edge:g} ", style)
    return text.append("  peak underlined", "dim")


def print_trace(
    view: TraceView, console: Console, *, measure: str = "entropy", explain: bool = True
) -> None:
    """Print one trace: what is known of it, its tokens in colour, the alternatives at its peak.

    Where the log lists no alternatives, and so no entropy is known, surprisal colours the tokens.

    Args:
        view: the trace.
        console: where to.
        measure: by which it is coloured: a key of ``LEVELS``.
        explain: print the legend of the colours.

    Examples:
        >>> import numpy as np
        >>> from entropilot.report.tokens import TraceView
        >>> from entropilot.report.visible import spans
        >>> calm, wild = 0.0, 2.7
        >>> view = TraceView("t", (), "", "", "", True, tuple(spans([b"yes", b" no"])),
        ...     *(np.array([calm, wild]) for _ in range(4)), ((), ()), (), 1)
        >>> print_trace(view, Console(color_system=None))
        t · right · 2 tokens
        entropy, nats from  0  0.05  0.2  0.4  0.7  1  1.5  2  2.5   peak underlined
        yes no
        peak 2.70 nats at token 1
    """
    verdict = {None: "unlabelled", True: "right", False: "wrong"}[view.correct]
    console.print(Text(f"{view.id} · {verdict} · {count(len(view))} tokens", "bold"))
    if not len(view):
        said = f"no token is logged; the answer: {view.answer}" if view.answer else "no token"
        console.print(Text(said, "dim"))
        return
    if np.isnan(view.measure(measure)).all():
        measure = "surprisal"
    if explain:
        console.print(legend(measure))
    console.print(heatmap(view, measure=measure))
    if view.peak is not None:
        said = f"peak {decimal(float(view.instability[view.peak]))} nats at token {view.peak}"
        others = "  ".join(
            f"{'>' if other.taken else ''}{other.text} {percent(other.probability, 1)}"
            for other in view.alternatives[view.peak]
        )
        console.print(Text(f"{said}: {others}" if others else said))


def print_assessment(assessment: Assessment, console: Console, *, most: int = 10) -> None:
    """Print the headline, the first flagged traces and what to do next.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> console = Console(color_system=None, width=100)
        >>> with console.capture() as said:
        ...     print_assessment(assess(frame), console)
        >>> said.get().splitlines()[0]
        '1 of 2 traces look suspicious, by mean entropy.'
    """
    for i, sentence in enumerate(assessment.headline):
        console.print(Text(prose(sentence), "bold" if i == 0 else ""))
    if assessment.flagged.height:
        name = sentences.with_unit(assessment, assessment.signal)
        table = Table(box=None, pad_edge=False, header_style="dim", title_style="")
        shown = assessment.flagged.head(most)
        columns = ("id", "score", "p_wrong", "peak_token", "peak_step", "correct")
        heads = ("trace", name, "P(wrong)", "peak at", "step", "outcome")
        kept = [i for i, column in enumerate(columns) if i == 0 or shown[column].count()]
        for i in kept:
            left = columns[i] in ("id", "correct")
            table.add_column(Text(heads[i]), justify="left" if left else "right")
        for row in shown.iter_rows(named=True):
            cells = (
                Text(visible(row["id"] or "", limit=60)),
                decimal(row["score"]),
                percent(row["p_wrong"]),
                ABSENT if row["peak_token"] is None else f"token {count(row['peak_token'])}",
                ABSENT if row["peak_step"] is None else count(row["peak_step"]),
                {None: "unlabelled", True: "right", False: "wrong"}[row["correct"]],
            )
            table.add_row(*(cells[i] for i in kept))
        console.print()
        console.print(table)
        rest = assessment.flagged.height - most
        if rest > 0:
            console.print(Text(f"and {count(rest)} more", "dim"))
    for i, step in enumerate(assessment.next_steps, 1):
        console.print(Text(f"{'' if i > 1 else chr(10)}{i}. {prose(step)}"))
