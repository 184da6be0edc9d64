"""Models that are got onto the engine's disk: the requests, their answer, and how far a download is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.message_parts import Event, ModelName, Reply, Request


class ModelDownloaded(Reply, frozen=True, kw_only=True, tag="model_downloaded"):
    """A model and all that it needs is on the engine's disk."""

    model: ModelName
    path: Annotated[str, about("The folder of its files, on the engine's machine.")]
    mb: Annotated[float, about("What the hub has of it and of what it needs.", unit="MB")]
    seconds: Annotated[float, about("How long that took.", unit="s")]


class DownloadProgress(Event, frozen=True, kw_only=True, tag="models/progress"):
    """How far the download of a model is; told to everybody, a few times a second at most."""

    model: ModelName
    repository: Annotated[str, about("What is being fetched: the model itself, or something that it needs.")]
    file: Annotated[str, about("The file that is being fetched; empty at the end of a repository.")]
    mb: Annotated[float, about("What is here of the repository's files.", unit="MB")]
    of_mb: Annotated[float, about("What they are together.", unit="MB")]


class DownloadModel(Request, frozen=True, kw_only=True, tag="models/download"):
    """Download a model and all that it needs to the engine's disk, beside what plays; answered when all of it is there.

    Goes on where an earlier download was cut off; what is there already is brought up to date. One at a time.
    """

    reply: ClassVar[type[Reply]] = ModelDownloaded
    osc_positional: ClassVar[tuple[str, ...]] = ("model",)
    model: Annotated[str, about("A name of the catalogue, or owner/name on the hub.", max_length=200)]
    accept_licence: Annotated[
        bool,
        about(
            "That you have read its licence and accept it, which is remembered. Without it, one that asks for more is refused."
        ),
    ] = False


class StopDownload(Request, frozen=True, kw_only=True, tag="models/download/stop"):
    """Stop the download that is under way; what has come is kept."""


MODEL_REQUESTS: tuple[type[Request], ...] = (DownloadModel, StopDownload)
MODEL_REPLIES: tuple[type[Reply], ...] = (ModelDownloaded,)
MODEL_EVENTS: tuple[type[Event], ...] = (DownloadProgress,)
