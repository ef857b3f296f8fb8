"""Measure entropy at every step, and steer by it.

Three lines from a response to numbers:

    import entropilot as ep
    diagnosis = ep.diagnose(response)  # a dict, SDK object, path, or list of them
    print(diagnosis.frame)  # polars, one row a trace

Names are imported when they are first used, so that ``import entropilot`` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entropilot.kernel_cache import make_room_for_kernels

__version__ = "0.1.0"

make_room_for_kernels(Path(__file__).parent)

if TYPE_CHECKING:
    from entropilot.diagnosis.assess import (
        assess,
    )
    from entropilot.diagnosis.assessment import (
        Assessment,
    )
    from entropilot.diagnosis.diagnose import (
        Diagnosis,
        diagnose,
    )
    from entropilot.diagnosis.labels import (
        join_labels,
    )
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
        with_gradient,
    )
    from entropilot.report import (
        render_html,
        write_html,
    )
    from entropilot.traces.engines import (
        summarise_logs,
    )
    from entropilot.traces.instability import (
        instability_trace,
    )
    from entropilot.traces.measures import (
        token_measures,
    )
    from entropilot.traces.monitor import (
        InstabilityAlarm,
        InstabilityMonitor,
    )
    from entropilot.traces.parquet import (
        read_parquet,
        write_parquet,
    )
    from entropilot.traces.reading.options import (
        ReadOptions,
    )
    from entropilot.traces.reading.sources import (
        load_traces,
        read_traces,
    )
    from entropilot.traces.steps.splitting import (
        split_steps,
    )
    from entropilot.traces.summary import (
        Summary,
        summarise,
    )
    from entropilot.traces.table import (
        Traces,
    )

_HOMES = {
    "Assessment": "diagnosis.assessment",
    "ConfigurationError": "errors",
    "Diagnosis": "diagnosis.diagnose",
    "EntropilotError": "errors",
    "FormatError": "errors",
    "InputError": "errors",
    "InstabilityAlarm": "traces.monitor",
    "InstabilityMonitor": "traces.monitor",
    "LimitError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ReadOptions": "traces.reading.options",
    "Summary": "traces.summary",
    "TopK": "information",
    "Traces": "traces.table",
    "answer_entropy": "information",
    "assess": "diagnosis.assess",
    "diagnose": "diagnosis.diagnose",
    "entropy": "information",
    "entropy_from_logits": "information",
    "entropy_topk": "information",
    "instability_trace": "traces.instability",
    "join_labels": "diagnosis.labels",
    "js_divergence": "information",
    "jsd_topk": "information",
    "kl_divergence": "information",
    "load_traces": "traces.reading.sources",
    "pass_at_k": "information",
    "read_parquet": "traces.parquet",
    "read_traces": "traces.reading.sources",
    "render_html": "report",
    "split_steps": "traces.steps.splitting",
    "summarise": "traces.summary",
    "summarise_logs": "traces.engines",
    "token_measures": "traces.measures",
    "token_statistics": "information",
    "with_gradient": "information",
    "write_html": "report",
    "write_parquet": "traces.parquet",
}

__all__ = [
    "Assessment",
    "ConfigurationError",
    "Diagnosis",
    "EntropilotError",
    "FormatError",
    "InputError",
    "InstabilityAlarm",
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
    "diagnose",
    "entropy",
    "entropy_from_logits",
    "entropy_topk",
    "instability_trace",
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
    "summarise_logs",
    "token_measures",
    "token_statistics",
    "with_gradient",
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
