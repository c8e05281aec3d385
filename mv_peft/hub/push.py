"""Puts an adapter on the Hub, with a card of the whole repository, in one commit."""

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

from ..runs.files import ADAPTER_FILES, CARD_FILE, checked_repo_id, checked_subfolder, in_subfolder
from .card import render_card
from .folder import Content, read_folder, save_adapter
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
    """Puts an adapter on the Hub, of any PEFT method, beside others that the repository may hold.

    The weights, the configuration, `metrics.json`, the processor's files and the card go up, nothing else of the
    folder, in one commit: if it fails, the files of the repository are as they were. (A repository or branch that did
    not exist is made before.)

    Args:
        adapter: A folder that `mv-peft train` or PEFT wrote, or a `PeftModel`.
        repo_id: Name of the repository, which is made if it does not exist.
        subfolder: Where in it, as "msrvtt"; None for its root.
        private: Whether a new repository is private; None for your account's default.
        revision: Branch, made from main if it does not exist; None for main.
        token: As in `huggingface_hub`: None for the one that is logged in.
        base_model: The CLIP's name on the Hub, where the adapter names a local folder.
        processor: The processor of a `PeftModel`.
        metrics: Content of `metrics.json` for a `PeftModel`.
        adapter_name: Which adapter of a `PeftModel`; None for the active one.
        commit_message: None for one that names the adapter.

    Returns:
        As `HfApi.create_commit`.

    Raises:
        CheckpointError: If the folder holds no whole adapter, or something that must not leave this machine.
        HubError: If the Hub does not take it.
        ValueError: For arguments that would have no effect, or a name that is none.
    """
    place = checked_subfolder(subfolder)
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
        info = replace(info, subfolder=place)
        with hub_errors(f"push to '{repo_id}'"):
            api = HfApi(token=token)
            _prepare(api, repo_id, private, revision)
            message = commit_message or f"{info.method} adapter{f' {place}' if place else ''}"
            return _commit(api, repo_id, revision, files, info, message)


def _prepare(api: HfApi, repo_id: str, private: bool | None, branch: str | None) -> None:
    """Makes the repository and the branch, if they are not there.

    Raises:
        ValueError: If the repository is there and not as private as was asked for: nobody should find that out later.
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
    """One commit on top of the state that the card was made from; made anew if others were faster or the Hub stumbles.

    Trying again is safe after a lost answer, too: the parent has changed then, and nothing is left to be committed.
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
    """The adapter's files, none of an earlier push that it no longer has, and the card of all adapters."""
    others = [other for other in repository.adapters if other.subfolder != info.subfolder]
    card = render_card(repo_id, [*others, info], repository.card)
    stale = [in_subfolder(info.subfolder, name) for name in ADAPTER_FILES if name not in files]
    return [
        *(CommitOperationAdd(in_subfolder(info.subfolder, name), content) for name, content in files.items()),
        *(CommitOperationDelete(path) for path in stale if path in repository.paths),
        CommitOperationAdd(CARD_FILE, card.encode()),
    ]
