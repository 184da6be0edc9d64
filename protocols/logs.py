"""Structured logs, the same in every process: to the standard error stream, coloured for people or JSON for machines."""

from __future__ import annotations

import logging
import sys

import structlog

from protocols.settings import LogSettings


def configure_logs(settings: LogSettings, process: str) -> None:
    """Set the logs of this process up; every line carries the process's name."""
    level = getattr(logging, settings.level.upper())
    human = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            lambda _logger, _method, entry: {"process": process, **entry},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
