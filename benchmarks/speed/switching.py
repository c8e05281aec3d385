"""Compare switching between the adapters of five data sets in one CLIP with its alternatives, in milliseconds.

    python -m benchmarks.speed.switching                   # ViT-B/16
    python -m benchmarks.speed.switching --size tiny --rounds 10

Switching is `model.set_adapter(name)`, which prepares the adapter for training, or for inference with
`inference_mode=True`. The alternatives are the way PEFT itself switches, a batch through all five adapters by
`adapter_names`, and loading an adapter from a folder. The forward pass of one query stands beside them. Weights are
random.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig

from .models import SIZES, clip_config, random_captions

PRESETS = ("activitynet", "didemo", "lsmdc", "msrvtt", "msvd")


def five_adapters(config: CLIPConfig, folder: Path) -> PeftModel:
    """Make a CLIP with an adapter for each data set, loaded from folders that are written here."""
    for name in PRESETS:
        single = get_peft_model(CLIPModel(config), MVAdapterConfig.from_preset(name))
        single.save_pretrained(folder / name)
    model = PeftModel.from_pretrained(CLIPModel(config), folder / PRESETS[0], adapter_name=PRESETS[0])
    for name in PRESETS[1:]:
        model.load_adapter(folder / name, name)
    return model.eval()


def milliseconds(work: Callable[[str], object], rounds: int) -> list[float]:
    """Times of one call for each adapter in turn, over some rounds; the first round does not count."""
    times = []
    for index in range(rounds + 1):
        for name in PRESETS:
            began = time.perf_counter()
            work(name)
            if index:
                times.append(1000 * (time.perf_counter() - began))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="B/16", help="size of the CLIP (default: B/16)")
    parser.add_argument(
        "--rounds", type=int, metavar="N", default=100, help="how often switching is measured (default: 100)"
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = Path(temporary)
        model = five_adapters(clip_config(args.size), folder)
        query = random_captions(1, 16)
        extra = 0

        def load(name: str) -> None:
            nonlocal extra
            extra += 1
            model.load_adapter(folder / name, f"again{extra}")
            model.delete_adapter(f"again{extra}")

        def forward(adapter_names: list[str] | None) -> None:
            model(input_ids=query.expand(len(PRESETS), -1), pixel_values=images, adapter_names=adapter_names)

        images = torch.zeros(len(PRESETS), 3, 224, 224)
        kinds = {
            "set_adapter": milliseconds(model.set_adapter, args.rounds),
            "  to be used only": milliseconds(lambda name: model.set_adapter(name, inference_mode=True), args.rounds),
            "  as PEFT does it": milliseconds(lambda name: BaseTuner.set_adapter(model.base_model, name), 10),
            "text forward, 1 query": milliseconds(lambda name: model.get_base_model().get_text_features(query), 5),
            "5 images, 1 adapter": milliseconds(lambda name: forward(None), 1),
            "5 images, 5 adapters": milliseconds(lambda name: forward(list(PRESETS)), 1),
            "load from a folder": milliseconds(load, 1),
        }
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if "mv_adapter" in name)
    print(f"{args.size}, {len(PRESETS)} adapters ({count:,} parameters), {torch.get_num_threads()} thread(s) of a CPU")
    print(f"{'milliseconds':24}{'median':>10}{'worst':>10}")
    for kind, times in kinds.items():
        print(f"{kind:24}{statistics.median(times):10.3f}{max(times):10.3f}")


if __name__ == "__main__":
    main()
