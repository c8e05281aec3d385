"""CONTRIBUTING.md: its example of a method is one, in every family."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import torch
from peft import PeftModel, get_peft_model

from mv_peft import enable_video
from mv_peft.tuners.base.register import register
from tests import families
from tests.families import FAMILIES, tiny_model

CONTRIBUTING = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def example():
    (source,) = re.findall(r"^ *```python\n(.*?)^ *```$", CONTRIBUTING.read_text(), re.DOTALL | re.MULTILINE)
    module = ModuleType("mv_peft.tuners.shift")
    module.__package__ = "mv_peft.tuners"
    sys.modules[module.__name__] = module
    exec(compile(textwrap.dedent(source), "CONTRIBUTING.md", "exec"), module.__dict__)
    register(module.ShiftConfig, module.ShiftModel)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_example_of_a_method_works(example, family, tmp_path):
    batch = families.batch(family)
    with torch.no_grad():
        base = enable_video(tiny_model(family)).eval()(**batch).logits_per_text
        model = get_peft_model(tiny_model(family), example.ShiftConfig()).eval()
        assert torch.equal(model(**batch).logits_per_text, base)
        shifts = [value for name, value in model.named_parameters() if "shift_block.default.amount" in name]
        assert len(shifts) == 5  # the layers of both towers
        for shift in shifts:
            shift.normal_()
        changed = model(**batch).logits_per_text
        assert (changed - base).abs().max() > 1e-3
        model.save_pretrained(tmp_path)
        loaded = PeftModel.from_pretrained(tiny_model(family), tmp_path).eval()
        assert torch.equal(loaded(**batch).logits_per_text, changed)
    with pytest.raises(ValueError, match="Shift has no code for merging and cannot be merged"):
        model.merge_and_unload()
