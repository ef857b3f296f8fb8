"""Figures and reports: HTML in one file, Markdown, JSON, and the terminal."""

from entropilot.report.html import Meta, Reading, exemplar_views, render_html, write_html
from entropilot.report.json import assessment_json, json_text, write_json
from entropilot.report.markdown import render_markdown, write_markdown
from entropilot.report.support import print_support, support_json, support_markdown
from entropilot.report.terminal import heatmap, legend, print_assessment, print_trace
from entropilot.report.tokens import Alternative, TokenMeasures, TraceView, trace_view
from entropilot.report.visible import Span, spans, visible

__all__ = [
    "Alternative",
    "Meta",
    "Reading",
    "Span",
    "TokenMeasures",
    "TraceView",
    "assessment_json",
    "exemplar_views",
    "heatmap",
    "json_text",
    "legend",
    "print_assessment",
    "print_support",
    "print_trace",
    "render_html",
    "render_markdown",
    "spans",
    "support_json",
    "support_markdown",
    "trace_view",
    "visible",
    "write_html",
    "write_json",
    "write_markdown",
]
