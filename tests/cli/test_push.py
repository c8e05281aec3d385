"""`mv-peft push`, `pull` and `list`: what they print, refuse and write. tests/hub tests the library behind them."""

from __future__ import annotations

import json

import pytest

from mv_peft.cli.main import main
from tests.hub.conftest import CLIP, LORA, REPO, adapter_folder, folder, hub, record  # noqa: F401  (fixtures)
from tests.hub.server import TOKEN


def test_push_list_pull(hub, folder, tmp_path, capsys):  # noqa: F811
    assert main(["push", str(folder), "--repo", REPO, "--subfolder", "msrvtt", "--message", "first"]) == 0
    assert capsys.readouterr().out == f"pushed: {hub.endpoint}/{REPO}/commit/{hub.repos[REPO].branches['main']}\n"
    demo = adapter_folder(tmp_path / "lora", LORA, {"schema": 1, "data": {"dataset": "demo", "synthetic": True}})
    assert main(["push", str(demo), "--repo", REPO]) == 0
    capsys.readouterr()
    assert main(["list", REPO]) == 0
    sizes = {path: f"{len(content):,}" for path, content in hub.files(REPO).items() if path.endswith(".safetensors")}
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == [".", "LORA", sizes["adapter_model.safetensors"], "demo", "(synthetic)", CLIP]
    size = sizes["msrvtt/adapter_model.safetensors"]
    assert rows[2] == ["msrvtt", "MV_ADAPTER", size, "msrvtt", "test", "46.2", "45.9", CLIP]
    assert main(["pull", REPO, "--subfolder", "msrvtt", "--output", str(tmp_path / "pulled")]) == 0
    assert capsys.readouterr().out == f"adapter written to {tmp_path / 'pulled'}\n"
    weights = "adapter_model.safetensors"
    assert (tmp_path / "pulled" / weights).read_bytes() == (folder / weights).read_bytes()


def test_push_notes_what_is_missing(hub, folder, capsys):  # noqa: F811
    (folder / "metrics.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/home/me/clip"}))
    assert main(["push", str(folder), "--repo", REPO]) == 0
    assert "note: The base model is known as '/home/me/clip' only" in capsys.readouterr().out


def test_dry_run_shows_everything_and_asks_nothing(hub, folder, capsys):  # noqa: F811
    hub.log.clear()
    assert main(["push", str(folder), "--repo", REPO, "--subfolder", "a", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert hub.log == []
    listed = [line.split()[1] for line in shown.splitlines() if " a/" in line and "subfolder" not in line]
    assert listed[:3] == ["a/adapter_model.safetensors", "a/adapter_config.json", "a/metrics.json"]
    assert 'mv_peft.load("org/adapters", subfolder="a")' in shown
    assert TOKEN not in shown
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["push", str(folder), "--repo", REPO, "--private", "--dry-run"])
    assert "`--private` has no effect with `--dry-run`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "org/none"], "Cannot list the adapters of 'org/none': there is no such repository"),
        (["pull", REPO, "--output", "x"], "Cannot load from 'org/adapters': there is no such repository"),
        (["push", "no-folder", "--repo", REPO], "it has no adapter_config.json"),
        (["push", ".", "--repo", "a/b/c"], "A repository is named as 'organisation/name' or 'name', got 'a/b/c'"),
    ],
)
def test_errors_are_one_line(hub, capsys, arguments, message, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    shown = capsys.readouterr().err.strip().splitlines()
    assert shown[-1].startswith("mv-peft: error: ")
    assert message in shown[-1]


def test_an_empty_repository_is_reported(hub, capsys):  # noqa: F811
    assert main(["list", CLIP]) == 0
    assert capsys.readouterr().out == f"'{CLIP}' holds no adapter.\n"


def test_control_characters_from_the_hub_are_not_printed(hub, folder, capsys):  # noqa: F811
    main(["push", str(folder), "--repo", REPO])
    noted = record("\x1b[31mred\x07")
    hub.add(REPO, {"metrics.json": json.dumps(noted).encode()})
    main(["list", REPO])
    assert "\x1b" not in capsys.readouterr().out


def test_there_is_no_option_for_a_token(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["push", "--help"])
    assert "--token" not in capsys.readouterr().out
