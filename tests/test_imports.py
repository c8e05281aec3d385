"""What is loaded by an import, and that PEFT knows our methods in whatever order things are imported.

Each test runs in a process of its own, since an import happens once.
"""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import mv_peft
from mv_peft import MVAdapterConfig, imports, tuners
from mv_peft.tuners.base.register import peft_type, register_public_methods
from tests.models import adapter_config, batch, tiny_clip

PACKAGE = Path(mv_peft.__file__).parent
HEAVY = ("torch", "transformers", "peft", "accelerate", "numpy", "av", "PIL", "huggingface_hub")
PACKAGES = sorted(".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py"))
COMMANDS = ("demo", "data", "cache", "train", "evaluate", "push", "pull", "list", "convert")

KNOWN = """
import peft
known = {name for name, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items() if config.__module__.startswith("mv_peft.")}
assert known >= {"MV_ADAPTER", "ST_ADAPTER", "BOTTLENECK_ADAPTER", "FULL_FINE_TUNING"}, known
assert known <= set(peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING), known
"""


def python(code: str, folder: Path = PACKAGE.parent) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def loaded_by(code: str) -> set[str]:
    """The heavy modules that are there after some code has run."""
    done = python(f"{code}\nimport sys\nprint('loaded:', *(name for name in {HEAVY} if name in sys.modules))")
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_importing_the_package_and_its_rooms_loads_nothing_heavy():
    assert {"mv_peft", "mv_peft.hub", "mv_peft.tuners", "mv_peft.data.benchmarks"} < set(PACKAGES)
    assert loaded_by(f"import {', '.join(PACKAGES)}, mv_peft.choices, mv_peft.training.settings") == set()
    assert loaded_by("from mv_peft import MVAdapterConfig") >= {"torch", "peft"}  # the test can see them


@pytest.mark.parametrize("command", ["", *COMMANDS, "data check"])
def test_no_help_loads_anything_heavy(command):
    words = [*command.split(), "--help"]
    shown = f"try:\n    main({words})\nexcept SystemExit as end:\n    assert end.code == 0"
    assert loaded_by(f"from mv_peft.cli.main import main\n{shown}") == set()


@pytest.mark.parametrize(
    "first",
    [
        "import mv_peft",
        "import peft, mv_peft",
        "import mv_peft; from peft.tuners.lora import LoraConfig",
        # Modules that themselves import PEFT, and so are half loaded when it comes.
        "from mv_peft.tuners.mv_adapter.config import MVAdapterConfig",
        "import mv_peft.tuners.base.register",
        "from mv_peft.encoders.context import layer_context",
        "from mv_peft.hub import load",
        "import mv_peft.cli.train",
    ],
)
def test_peft_knows_our_methods(first):
    python(first + KNOWN)


def test_peft_is_imported_by_two_threads():
    python(
        """
import threading
jobs = ["import peft", "from mv_peft.encoders.context import layer_context", "import mv_peft.tuners.st_adapter"]
threads = [threading.Thread(target=exec, args=(job, {})) for job in jobs]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import mv_peft
"""
        + KNOWN
    )


def test_mv_peft_can_be_imported_by_peft_itself(tmp_path):
    """As by a plugin of a library that PEFT imports: its own modules are then half loaded."""
    (tmp_path / "plugin.py").write_text("import mv_peft\nassert 'peft' in __import__('sys').modules\n")
    python(
        f"""
import sys
sys.path.append({str(tmp_path)!r})

class Plugin:
    def find_spec(self, name, path=None, target=None):
        if name == "peft.mapping_func":
            sys.meta_path.remove(self)
            import plugin

sys.meta_path.insert(0, Plugin())
import peft
assert "plugin" in sys.modules
from mv_peft import MVAdapterConfig
MVAdapterConfig()
"""
        + KNOWN
    )


def test_without_peft_the_light_parts_still_work():
    python(
        """
import sys
sys.modules["peft"] = None
import mv_peft
from mv_peft.data import BENCHMARKS
assert "msrvtt" in BENCHMARKS
try:
    mv_peft.MVAdapterConfig
except ImportError as error:
    assert "peft" in str(error), error
else:
    raise AssertionError
"""
    )


@pytest.mark.parametrize("first", ["", "import peft", "import mv_peft"])
def test_a_configuration_is_unpickled_in_a_fresh_process(tmp_path, first):
    (tmp_path / "config").write_bytes(pickle.dumps(MVAdapterConfig(bottleneck_dim=6)))
    python(
        f"{first}\nimport pickle\nconfig = pickle.load(open('config', 'rb'))\n"
        f"assert (config.bottleneck_dim, config.peft_type.value) == (6, 'MV_ADAPTER'), config\n{KNOWN}",
        tmp_path,
    )


def test_an_adapter_is_loaded_after_import_mv_peft_alone(tmp_path):
    model = get_peft_model(tiny_clip(), adapter_config()).eval()
    model.save_pretrained(tmp_path / "adapter")
    torch.save((batch(), model(**batch()).logits_per_text.detach()), tmp_path / "expected")
    tiny_clip().save_pretrained(tmp_path / "clip")
    python(
        """
import mv_peft
import torch
from peft import PeftModel
from transformers import CLIPModel
inputs, expected = torch.load("expected", weights_only=True)
model = PeftModel.from_pretrained(CLIPModel.from_pretrained("clip"), "adapter").eval()
with torch.no_grad():
    assert torch.equal(model(**inputs).logits_per_text, expected)
    assert not torch.equal(model.get_base_model().eval()(**inputs).logits_per_text, 0 * expected)
""",
        tmp_path,
    )


def public_packages() -> list[str]:
    return [name for name in PACKAGES if (PACKAGE.parent / name.replace(".", "/") / "__init__.pyi").exists()]


def test_every_public_name_can_be_loaded_and_listed():
    assert len(public_packages()) > 8
    for name in public_packages():
        package = __import__(name, fromlist=["*"])
        assert package.__all__ == sorted(package.__all__)
        assert set(package.__all__) <= set(dir(package))
        values = {public: getattr(package, public) for public in package.__all__}
        assert not [public for public, value in values.items() if isinstance(value, type(sys))], "a module, not a name"
        namespace: dict[str, object] = {}
        exec(f"from {name} import *", namespace)
        assert values.items() <= namespace.items()
    assert {"MVAdapterConfig", "load", "__version__"} < set(mv_peft.__all__)
    assert {"MVAdapterConfig", "METHODS"} < set(dir(tuners))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mv_peft' has no attribute 'MVAdaptor'"):
        mv_peft.MVAdaptor  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'MVAdaptor' from 'mv_peft'"):
        from mv_peft import MVAdaptor  # noqa: F401


@pytest.mark.parametrize("first", ["import mv_peft.hub.load", "import mv_peft"])
def test_a_function_is_not_hidden_by_the_file_of_its_name(first):
    python(
        f"{first}\nimport mv_peft.hub, mv_peft.video.load_videos\nfrom mv_peft.hub import load\n"
        "assert callable(load) and mv_peft.hub.load is load is mv_peft.load\n"
        "assert callable(mv_peft.video.load_videos)"
    )


def test_packages_whose_modules_import_peft_report_their_modules():
    """Else the registration would wait in vain where one of those modules is what loads PEFT."""
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) and node.level == 0 else ""
            if (module or "").split(".")[0] in ("peft", "transformers", "accelerate"):
                importing.add(".".join(path.parent.relative_to(PACKAGE.parent).parts))
    assert {"mv_peft.encoders", "mv_peft.tuners.mv_adapter"} < importing
    for name in importing:
        assert isinstance(__import__(name, fromlist=["*"]), imports.LazyPackage), name


def test_another_packages_method_of_our_name_is_refused(monkeypatch):
    monkeypatch.setitem(PEFT_TYPE_TO_CONFIG_MAPPING, peft_type("mv_adapter"), LoraConfig)
    with pytest.raises(RuntimeError, match=r"'MV_ADAPTER' is already registered by 'peft.tuners.lora.config'"):
        register_public_methods()
