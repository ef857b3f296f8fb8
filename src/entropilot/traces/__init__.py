"""What a process left behind: traces in columns, read, cut into steps, measured and summarised."""

from entropilot.traces.engines import (
    Progress,
    summarise_logs,
)
from entropilot.traces.frame import (
    FRAME_SCHEMA,
    trace_frame,
)
from entropilot.traces.instability import (
    Instability,
    instability_trace,
    instability_traces,
)
from entropilot.traces.log_summary import (
    LogSettings,
    summarise_log,
)
from entropilot.traces.measures import (
    TokenMeasures,
    common_k,
    token_measures,
    truncate_top_k,
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
    Batch,
    ReadOptions,
    ReadReport,
    Shard,
    Skipped,
)
from entropilot.traces.reading.shards import (
    plan_shards,
)
from entropilot.traces.reading.sources import (
    load_traces,
    read_traces,
)
from entropilot.traces.steps.offsets import (
    step_spans,
    step_texts,
)
from entropilot.traces.steps.splitting import (
    split_steps,
    split_text,
)
from entropilot.traces.summary import (
    Summary,
    SummarySettings,
    merge_summaries,
    summarise,
)
from entropilot.traces.summary_file import (
    load_summary,
    save_summary,
)
from entropilot.traces.table import (
    Steps,
    Tokens,
    Traces,
    Vocabulary,
    concatenate,
    trace_rows,
)

__all__ = [
    "FRAME_SCHEMA",
    "Batch",
    "Instability",
    "InstabilityAlarm",
    "InstabilityMonitor",
    "LogSettings",
    "Progress",
    "ReadOptions",
    "ReadReport",
    "Shard",
    "Skipped",
    "Steps",
    "Summary",
    "SummarySettings",
    "TokenMeasures",
    "Tokens",
    "Traces",
    "Vocabulary",
    "common_k",
    "concatenate",
    "instability_trace",
    "instability_traces",
    "load_summary",
    "load_traces",
    "merge_summaries",
    "plan_shards",
    "read_parquet",
    "read_traces",
    "save_summary",
    "split_steps",
    "split_text",
    "step_spans",
    "step_texts",
    "summarise",
    "summarise_log",
    "summarise_logs",
    "token_measures",
    "trace_frame",
    "trace_rows",
    "truncate_top_k",
    "write_parquet",
]
