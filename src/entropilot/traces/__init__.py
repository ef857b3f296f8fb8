"""What a process left behind: the columnar table of traces, and reading it from logs."""

from entropilot.traces.parquet import read_parquet, write_parquet
from entropilot.traces.reading import Batch, ReadOptions, ReadReport, Shard, Skipped
from entropilot.traces.scan import load_traces, read_traces
from entropilot.traces.shards import plan_shards
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
    "plan_shards",
    "read_parquet",
    "read_traces",
    "trace_rows",
    "write_parquet",
]
