"""Repositories of adapters on the Hub, and the Hub's errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from ..errors import CheckpointError, HubError
from ..runs.files import CARD_FILE, CONFIG_FILE, MAX_JSON_BYTES, METRICS_FILE, WEIGHTS_FILE, read_json
from ..runs.metrics_file import MetricsFile
from .names import checked_subfolder, in_subfolder

# The base class of errors about connections, in whichever library huggingface_hub uses for HTTP.
TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_LOG_IN = "Log in by `hf auth login`, or set HF_TOKEN."
_STATUS = {
    401: f"it does not accept the token, or wants one (401). {_LOG_IN}",
    403: "the token may not do this (403). Use one with write access to the repository.",
    404: f"there is no such repository, or the token may not see it (404). Check the name. {_LOG_IN}",
    409: "somebody else changes it at the same time (409). Try again.",
    412: "somebody else changes it at the same time (412). Try again.",
    429: "it asks for fewer requests (429). Try again later.",
}


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter of a repository.

    Attributes:
        subfolder: Its subfolder, "" for the root.
        config: The content of its `adapter_config.json`.
        metrics_file: The content of its `metrics.json`.
        num_bytes: Size of its weights; None without a safetensors file.
    """

    subfolder: str
    config: dict[str, Any]
    metrics_file: MetricsFile
    num_bytes: int | None

    @property
    def method(self) -> str:
        """PEFT's name of the method, as "MV_ADAPTER"."""
        return str(self.config.get("peft_type"))

    @property
    def base_model(self) -> str | None:
        """Name of the base model on the Hub, if it is known."""
        return self.config.get("base_model_name_or_path") or self.metrics_file.base_model.name

    @property
    def base_revision(self) -> str | None:
        """Revision of the base model, if it was pinned."""
        return self.config.get("revision") or self.metrics_file.base_model.revision


@dataclass(frozen=True)
class Repository:
    """A repository at one commit.

    Attributes:
        commit: Id of the commit.
        private: Whether the repository is private.
        paths: Paths of all files.
        adapters: The adapters, by subfolder.
        card: Text of the README.md, if there is one.
    """

    commit: str
    private: bool
    paths: frozenset[str]
    adapters: list[AdapterInfo] = field(default_factory=list)
    card: str | None = None


def list_adapters(repo_id: str, *, revision: str | None = None, token: str | bool | None = None) -> list[AdapterInfo]:
    """List the adapters in a repository on the Hub, of any PEFT method.

    Args:
        repo_id: Name of the repository.
        revision: Branch, tag or commit.
        token: As in `huggingface_hub`: None for the token that is logged in, False for none.

    Raises:
        HubError: If the repository cannot be read.
    """
    with hub_errors(f"list the adapters of '{repo_id}'"):
        return read_repository(HfApi(token=token), repo_id, revision).adapters


def read_repository(api: HfApi, repo_id: str, revision: str | None) -> Repository:
    """Read everything about a repository that the card and the list show, at one commit.

    An adapter whose settings are damaged is shown without them, so that it does not hide the others.
    """
    info = api.repo_info(repo_id, revision=revision)
    assert info.sha is not None
    tree = api.list_repo_tree(repo_id, revision=info.sha, recursive=True)
    sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}

    def download(path: str) -> Path | None:
        if sizes.get(path, MAX_JSON_BYTES + 1) > MAX_JSON_BYTES:
            return None
        return Path(api.hf_hub_download(repo_id, path, revision=info.sha))

    adapters = []
    for path in sorted(sizes):
        subfolder, _, name = path.rpartition("/")
        if name != CONFIG_FILE or not _is_plain(subfolder):
            continue
        config_path = download(path)
        metrics_path = download(in_subfolder(subfolder, METRICS_FILE))
        try:
            config = {} if config_path is None else read_json(config_path)
            metrics_file = MetricsFile() if metrics_path is None else MetricsFile.read(metrics_path.parent)
        except CheckpointError:
            config, metrics_file = {}, MetricsFile()
        adapters.append(AdapterInfo(subfolder, config, metrics_file, sizes.get(in_subfolder(subfolder, WEIGHTS_FILE))))
    card = download(CARD_FILE)
    return Repository(
        commit=info.sha,
        private=bool(info.private),
        paths=frozenset(sizes),
        adapters=adapters,
        card=None if card is None else card.read_text(encoding="utf-8"),
    )


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Turn what huggingface_hub raises, or Transformers because of it, into a HubError.

    Args:
        doing: What cannot be done then, as "push to 'org/name'".
    """
    try:
        yield
    except (OSError, RuntimeError, TRANSPORT_ERROR, CheckpointError) as error:
        reason = next(filter(None, map(_reason, _causes(error))), None)
        if reason is None:
            raise
        raise HubError(f"Cannot {doing}: {reason}") from error


def hub_status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; 0 for a broken connection, None if neither is behind it."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code
        if isinstance(cause, TRANSPORT_ERROR):
            return 0
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def _reason(error: BaseException) -> str | None:
    if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError)) and hub_status(error) in (None, 0):
        if isinstance(error, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set. Unset it."
        return (
            "it is not in the cache, and the Hub was not asked or not reached. Connect once, or unset HF_HUB_OFFLINE."
        )
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token. {_LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision (404). Name a branch, a tag or a commit."
    if isinstance(error, RepositoryNotFoundError):
        return _STATUS[404].replace("404", str(error.response.status_code))
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in _STATUS:
            return _STATUS[status]
        message = getattr(error, "server_message", None) or ""
        detail = f": {re.sub(r'hf_[A-Za-z0-9]+', 'hf_...', message)[:300]}" if message else ""
        return f"the Hub answers {status}{detail}. Try again later."
    if isinstance(error, TRANSPORT_ERROR):
        return f"the connection broke ({type(error).__name__}). Try again."
    return "the download is incomplete. Try again." if "Consistency check failed" in str(error) else None


def _is_plain(subfolder: str) -> bool:
    try:
        checked_subfolder(subfolder or None)
    except ValueError:
        return False
    return True
