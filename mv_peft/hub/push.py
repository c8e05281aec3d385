"""Put an adapter on the Hub, with a card of the whole repository, in one commit."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from peft import PeftModel
from transformers.processing_utils import ProcessorMixin

from ..runs.files import ADAPTER_FILES, CARD_FILE
from .card import render_card
from .folder import Content, read_folder, save_adapter
from .names import checked_repo_id, checked_subfolder, in_subfolder
from .remote import TRANSPORT_ERROR, AdapterInfo, Repository, hub_errors, hub_status, read_repository

logger = logging.getLogger(__name__)

_TRY_AGAIN = {0, 409, 412, 429, 500, 502, 503, 504}  # 0: the connection broke
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.5  # before the second attempt, and twice as long before each later one


def push_adapter(
    adapter: str | PathLike[str] | PeftModel,
    repo_id: str,
    *,
    subfolder: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    base_model: str | None = None,
    processor: ProcessorMixin | None = None,
    metrics: Mapping[str, Any] | None = None,
    adapter_name: str | None = None,
    commit_message: str | None = None,
) -> CommitInfo:
    """Put an adapter of any PEFT method on the Hub, beside others that the repository may hold.

    The weights, the configuration, `metrics.json`, the processor's files and the card go up in one commit, and nothing
    else of the folder does. If the commit fails, the files of the repository are as they were; a repository or branch
    that did not exist has been made. There are more than eight arguments, because each stands for one independent wish
    of the user and most calls give two or three by keyword.

    Args:
        adapter: A folder that `mv-peft train` or PEFT wrote, or a `PeftModel`.
        repo_id: Name of the repository, which is made if it does not exist.
        subfolder: Subfolder of the repository, as "msrvtt"; None for its root.
        private: Whether a new repository is private; None for your account's default.
        revision: Branch, made from main if it does not exist; None for main.
        token: As in `huggingface_hub`: None for the token that is logged in.
        base_model: The base model's name on the Hub, where the adapter names a local folder.
        processor: The processor of a `PeftModel`.
        metrics: Content of `metrics.json` for a `PeftModel`.
        adapter_name: Which adapter of a `PeftModel`; None for the active one.
        commit_message: None for a message that names the adapter.

    Returns:
        The commit, as `HfApi.create_commit` returns it.

    Raises:
        CheckpointError: If the folder holds no whole adapter, or something that must not leave this machine.
        HubError: If the Hub does not take it.
        ValueError: For arguments that would have no effect, or that cannot be names.
    """
    subfolder = checked_subfolder(subfolder)
    checked_repo_id(repo_id)
    of_models = {"processor": processor, "metrics": metrics, "adapter_name": adapter_name}
    useless = [name for name, value in of_models.items() if value is not None]
    if useless and not isinstance(adapter, PeftModel):
        raise ValueError(f"`{useless[0]}` belongs to a PeftModel; a folder has its own. Leave it out.")
    with tempfile.TemporaryDirectory() as temporary:
        if isinstance(adapter, PeftModel):
            folder = save_adapter(adapter, Path(temporary), adapter_name, processor, metrics)
        else:
            folder = Path(adapter)
        files, info = read_folder(folder, base_model)
        info = replace(info, subfolder=subfolder)
        with hub_errors(f"push to '{repo_id}'"):
            api = HfApi(token=token)
            _prepare(api, repo_id, private, revision)
            message = commit_message or f"{info.method} adapter{f' {subfolder}' if subfolder else ''}"
            return _commit(api, repo_id, revision, files, info, message)


def _prepare(api: HfApi, repo_id: str, private: bool | None, branch: str | None) -> None:
    """Make the repository and the branch, if they do not exist.

    Raises:
        ValueError: If the repository exists and is not as private as was asked for.
    """
    api.create_repo(repo_id, private=private, exist_ok=True)
    is_private = bool(api.repo_info(repo_id).private)
    if private is not None and private != is_private:
        kinds = {True: "private", False: "public"}
        raise ValueError(
            f"'{repo_id}' exists and is {kinds[is_private]}. "
            f"Make it {kinds[private]} on the Hub, or leave `private` out."
        )
    if branch is not None and not branch.startswith("refs/"):
        api.create_branch(repo_id, branch=branch, exist_ok=True)


def _commit(
    api: HfApi, repo_id: str, branch: str | None, files: Mapping[str, Content], info: AdapterInfo, message: str
) -> CommitInfo:
    """Commit on top of the state that the card was made from; begin again if others were faster or the Hub fails.

    A second attempt is safe even if only the answer to the first was lost, because then nothing is left to commit.
    """
    attempt = 1
    while True:
        try:
            repository = read_repository(api, repo_id, branch)
            return api.create_commit(
                repo_id,
                _operations(repo_id, repository, files, info),
                commit_message=message,
                revision=branch,
                parent_commit=repository.commit,
            )
        except (OSError, RuntimeError, TRANSPORT_ERROR) as error:
            if attempt == _ATTEMPTS or hub_status(error) not in _TRY_AGAIN:
                raise
            logger.info("The commit to '%s' failed (%s), trying again.", repo_id, type(error).__name__)
        time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
        attempt += 1


def _operations(
    repo_id: str, repository: Repository, files: Mapping[str, Content], info: AdapterInfo
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add the adapter's files and the card of all adapters, and delete files of an earlier push that it has no more."""
    others = [other for other in repository.adapters if other.subfolder != info.subfolder]
    card = render_card(repo_id, [*others, info], repository.card)
    stale = [in_subfolder(info.subfolder, name) for name in ADAPTER_FILES if name not in files]
    return [
        *(CommitOperationAdd(in_subfolder(info.subfolder, name), content) for name, content in files.items()),
        *(CommitOperationDelete(path) for path in stale if path in repository.paths),
        CommitOperationAdd(CARD_FILE, card.encode()),
    ]
