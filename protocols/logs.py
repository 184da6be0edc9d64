"""Structured logs, the same in every process: to the standard error stream, coloured for people or JSON for machines."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from protocols.settings import LogSettings


def configure_logs(settings: LogSettings, process: str) -> None:
    """Set the logs of this process up: ours and those of the libraries, in one form; every line carries the process's name."""

    def name_process(logger: WrappedLogger, method: str, entry: EventDict) -> EventDict:
        return {"process": process, **entry}

    level = getattr(logging, settings.level.upper())
    human = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Processor = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    if not human:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[libraries], force=True)
    for ours in ("audio_files", "daw_bridge", "engine", "protocols"):
        logging.getLogger(ours).setLevel(level)
