"""Gets an adapter from the Hub, or from its cache: its own files and nothing else of the repository."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import snapshot_download

from ..errors import CheckpointError
from ..runs.files import ADAPTER_FILES, checked_repo_id, checked_subfolder, in_subfolder
from .folder import weight_shapes
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
    """Copies an adapter from the Hub into a folder of its own, whole or not at all.

    Args:
        repo_id: Name of the repository.
        output: The folder, which must not exist or be empty.
        subfolder: Where the adapter is in the repository.
        revision: Branch, tag or commit.
        token: As in `huggingface_hub`.
        cache_dir: As in `huggingface_hub`, where an interrupted download goes on.
        local_files_only: Takes it from the cache, without asking the Hub.
        force_download: Downloads what is in the cache already.

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
    source = download_adapter(
        repo_id,
        subfolder=subfolder,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    weight_shapes(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        whole = Path(temporary) / "adapter"
        whole.mkdir()
        for name in ADAPTER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, whole / name)
        if output.exists():
            output.rmdir()
        whole.rename(output)
    return output


def download_adapter(
    repo_id: str,
    *,
    subfolder: str | None,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    force_download: bool,
) -> Path:
    """The folder in the cache that holds an adapter's files, all of one commit.

    Raises:
        CheckpointError: If there is no adapter in that place.
        HubError: If the Hub does not give it.
    """
    place = checked_subfolder(subfolder)
    checked_repo_id(repo_id)
    where = f"'{repo_id}'" + (f", subfolder '{place}'" if place else "")
    with hub_errors(f"load from {where}"):
        snapshot = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            local_files_only=local_files_only,
            force_download=force_download,
            allow_patterns=[in_subfolder(place, name) for name in ADAPTER_FILES],
        )
    folder = Path(snapshot) / place
    if not folder.is_dir():
        raise CheckpointError(f"There is no adapter in {where}. `mv-peft list {repo_id}` shows what there is.")
    return folder
