"""What a process left behind: the columnar table of traces, and reading it from logs."""

from entropilot.traces.reading import Batch, ReadOptions, ReadReport, Shard, Skipped
from entropilot.traces.scan import load_traces, read_traces
from entropilot.traces.table import Steps, Tokens, Traces, Vocabulary, concatenate, trace_rows

__all__ = [
    "Batch",
    "ReadOptions",
    "ReadReport",
    "Shard",
    "Skipped",
    "Steps",
    "Tokens",
    "Traces",
    "Vocabulary",
    "concatenate",
    "load_traces",
    "read_traces",
    "trace_rows",
]
