"""Measure entropy at every step, and steer by it.

Three lines from a response to numbers:

    import entropilot as ep
    traces = ep.load_traces(response)  # a dict, SDK object, path, or list of them
    frame = ep.summarise(ep.split_steps(traces)).frame  # polars, one row a trace

Names are imported when they are first used, so that ``import entropilot`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from entropilot.errors import (
        ConfigurationError,
        EntropilotError,
        FormatError,
        InputError,
        LimitError,
        MissingExtraError,
        ModelError,
    )
    from entropilot.information import (
        TopK,
        answer_entropy,
        entropy,
        entropy_from_logits,
        entropy_topk,
        js_divergence,
        jsd_topk,
        kl_divergence,
        pass_at_k,
        token_statistics,
    )
    from entropilot.report import render_html, write_html
    from entropilot.traces.assess import assess
    from entropilot.traces.assessment import Assessment
    from entropilot.traces.engines import diagnose_shards
    from entropilot.traces.labels import join_labels
    from entropilot.traces.monitor import InstabilityMonitor
    from entropilot.traces.parquet import read_parquet, write_parquet
    from entropilot.traces.reading import ReadOptions
    from entropilot.traces.scan import load_traces, read_traces
    from entropilot.traces.steps import split_steps
    from entropilot.traces.summary import Summary, summarise
    from entropilot.traces.table import Traces

_HOMES = {
    "Assessment": "traces.assessment",
    "ConfigurationError": "errors",
    "EntropilotError": "errors",
    "FormatError": "errors",
    "InputError": "errors",
    "InstabilityMonitor": "traces.monitor",
    "LimitError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ReadOptions": "traces.reading",
    "Summary": "traces.summary",
    "TopK": "information",
    "Traces": "traces.table",
    "answer_entropy": "information",
    "assess": "traces.assess",
    "diagnose_shards": "traces.engines",
    "entropy": "information",
    "entropy_from_logits": "information",
    "entropy_topk": "information",
    "join_labels": "traces.labels",
    "js_divergence": "information",
    "jsd_topk": "information",
    "kl_divergence": "information",
    "load_traces": "traces.scan",
    "pass_at_k": "information",
    "read_parquet": "traces.parquet",
    "read_traces": "traces.scan",
    "render_html": "report",
    "split_steps": "traces.steps",
    "summarise": "traces.summary",
    "token_statistics": "information",
    "write_html": "report",
    "write_parquet": "traces.parquet",
}

__all__ = [
    "Assessment",
    "ConfigurationError",
    "EntropilotError",
    "FormatError",
    "InputError",
    "InstabilityMonitor",
    "LimitError",
    "MissingExtraError",
    "ModelError",
    "ReadOptions",
    "Summary",
    "TopK",
    "Traces",
    "__version__",
    "answer_entropy",
    "assess",
    "diagnose_shards",
    "entropy",
    "entropy_from_logits",
    "entropy_topk",
    "join_labels",
    "js_divergence",
    "jsd_topk",
    "kl_divergence",
    "load_traces",
    "pass_at_k",
    "read_parquet",
    "read_traces",
    "render_html",
    "split_steps",
    "summarise",
    "token_statistics",
    "write_html",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'entropilot' has no attribute {name!r}")
    value = getattr(import_module(f"entropilot.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
