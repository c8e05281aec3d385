"""Get an adapter from the Hub, or from its cache: the adapter's files and nothing else of the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download

from ..atomic import atomic_folder
from ..encoders.loading import HubOptions
from ..errors import CheckpointError
from ..runs.files import ADAPTER_FILES
from .folder import weight_shapes
from .names import checked_repo_id, checked_subfolder, in_subfolder
from .remote import hub_errors


def pull_adapter(
    repo_id: str,
    output: str | os.PathLike[str],
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Copy an adapter from the Hub into a new folder, whole or not at all.

    Args:
        repo_id: Name of the repository.
        output: The folder, which must not exist or be empty.
        subfolder: Subfolder of the repository that the adapter is in.
        revision: Branch, tag or commit.
        token: As in `huggingface_hub`.
        cache_dir: As in `huggingface_hub`; an interrupted download is continued there.
        local_files_only: Takes the adapter from the cache, without asking the Hub.
        force_download: Downloads again what is in the cache.

    Returns:
        The folder.

    Raises:
        CheckpointError: If there is no whole adapter.
        HubError: If the Hub does not give it.
        FileExistsError: If the output holds something.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"'{output}' exists and is not empty. Give another folder.")
    hub = HubOptions(token, cache_dir, local_files_only, force_download)
    source = download_adapter(repo_id, subfolder, revision, hub)
    weight_shapes(source)
    with atomic_folder(output) as folder:
        for name in ADAPTER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    return output


def download_adapter(repo_id: str, subfolder: str | None, revision: str | None, hub: HubOptions) -> Path:
    """Download an adapter's files, all of one commit, and return the folder of the cache that holds them.

    Raises:
        CheckpointError: If there is no adapter in that subfolder.
        HubError: If the Hub does not give it.
        ValueError: If a name cannot be one.
    """
    folder = checked_subfolder(subfolder)
    checked_repo_id(repo_id)
    where = f"'{repo_id}'" + (f", subfolder '{folder}'" if folder else "")
    with hub_errors(f"load from {where}"):
        snapshot = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=[in_subfolder(folder, name) for name in ADAPTER_FILES],
            **hub.as_arguments(),
        )
    path = Path(snapshot) / folder
    if not path.is_dir():
        raise CheckpointError(f"There is no adapter in {where}. `mv-peft list {repo_id}` shows what there is.")
    return path
