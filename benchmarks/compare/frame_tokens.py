"""What should stand for a frame in Temporal Adaptation where there is no [CLS] token? Tried on a tiny SigLIP.

    python -m benchmarks.compare.frame_tokens --model DIR                       # chooses on the validation split
    python -m benchmarks.compare.frame_tokens --model DIR --split test --ways mean --rates 0.003 --seeds 0,1,2

DIR is `benchmarks/pretrain/clips/shapes-siglip`, and the results are in `docs/results/siglip.md`. Every way is trained
at each rate as the MV-Adapter of the comparison is (`methods/mv_adapter.json`, 400 steps of 32 clips and reversals):

    mean      the mean of the frame's patches; the temporal signal is added to every patch (what mv_peft does)
    query     a learned query attends over the patches; the signal is added to every patch
    pooled    the token that SigLIP's own attention pooling makes of the last layer, adapted at the MLP of that pooling;
              the layers keep their adapters, without temporal adaptation
    none      no temporal adaptation: blind to the order of frames
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, set_seed

from mv_peft.encoders import MVProcessor
from mv_peft.tuners import create_method
from mv_peft.tuners.mv_adapter.adapter import VideoAdapter

from ..pretrain.tiny_models import MAX_TEXT_TOKENS
from .in_memory import WorldInMemory
from .measure import selection_figures
from .method import load_method
from .settings import WorldSettings


class QueryAdapter(VideoAdapter):
    """A video adapter whose frames are what a learned query sees of their patches."""

    query: nn.Parameter

    def temporal_signal(self, patches: Tensor, frame_mask: Tensor) -> Tensor:
        """As in the class above, with attention in the place of the mean."""
        assert self.temporal is not None
        weights = (patches @ self.query / patches.shape[-1] ** 0.5).softmax(dim=-1)  # batch frames patches
        frames = (weights[..., None] * patches).sum(dim=2)
        return self.temporal(frames, patches.mean(dim=2), frame_mask)


class AdaptedPooling(nn.Module):
    """The second projection of the pooling head's MLP with a video adapter on its output, one token a frame."""

    def __init__(self, projection: nn.Module, adapter: VideoAdapter, num_frames: int) -> None:
        super().__init__()
        self.projection, self.adapter, self.num_frames = projection, adapter, num_frames

    def forward(self, hidden: Tensor) -> Tensor:
        result = self.projection(hidden)
        mask = torch.ones(len(result) // self.num_frames, self.num_frames, dtype=torch.bool, device=result.device)
        return result + self.adapter(result, mask)


def mean(model: PreTrainedModel, num_frames: int, fields: dict) -> nn.Module:
    """MV-Adapter as it is."""
    return create_method(model, "mv_adapter", **fields)


def none(model: PreTrainedModel, num_frames: int, fields: dict) -> nn.Module:
    """MV-Adapter without temporal adaptation."""
    return create_method(model, "mv_adapter", **fields, temporal_adaptation=False)


def query(model: PreTrainedModel, num_frames: int, fields: dict) -> nn.Module:
    """MV-Adapter with a learned query for each layer."""
    adapted = mean(model, num_frames, fields)
    for module in list(adapted.modules()):
        if isinstance(module, VideoAdapter):
            dim = module.down.out_features
            module.query = nn.Parameter(torch.randn(dim) * dim**-0.5)
            module.__class__ = QueryAdapter
    return adapted


def pooled(model: PreTrainedModel, num_frames: int, fields: dict) -> nn.Module:
    """Plain adapters in the layers, and a temporal one behind the pooling."""
    width = model.config.vision_config.hidden_size
    adapter = VideoAdapter(
        width,
        fields["bottleneck_dim"],
        num_heads=2,
        max_frames=num_frames,
        scaling=fields["scaling"],
        class_token=False,
    )
    adapter.reset_parameters(tying_init=fields["tying_init"], position_init_std=fields["position_init_std"])
    adapted = none(model, num_frames, fields)
    mlp = adapted.get_base_model().vision_model.head.mlp
    mlp.fc2 = AdaptedPooling(mlp.fc2, adapter, num_frames)
    return adapted


WAYS: dict[str, Callable[[PreTrainedModel, int, dict], nn.Module]] = {
    way.__name__: way for way in (mean, query, pooled, none)
}


def measure(way: str, rate: float, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Train one way and give its figures, in per cent."""
    settings = WorldSettings(method="mv_adapter", learning_rate=rate, seed=seed, split=args.split, steps=args.steps)
    method = load_method(settings.method)
    model = AutoModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    processor = MVProcessor.from_pretrained(args.model, max_text_tokens=MAX_TEXT_TOKENS, frame_sampling="clip4clip")
    set_seed(seed)
    adapted = WAYS[way](model.requires_grad_(False), settings.num_frames, method.overrides)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    world = WorldInMemory(settings)
    adapted, _ = world.train(adapted, processor, method)
    metrics = world.measure(adapted, processor)
    figures = selection_figures(metrics, settings.galleries)
    order = {f"order {way}": metrics["order"][f"{way} order accuracy"] for way in ("t2v", "v2t")}
    return {"parameters": trained, "mean R@1": statistics.mean(figures.values()), **figures, **order}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR", help="a tiny SigLIP of the world")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--ways", default=",".join(WAYS), help="names, with commas between them")
    parser.add_argument("--rates", default="0.001,0.003,0.01", help="learning rates, with commas between them")
    parser.add_argument("--seeds", default="0", help="numbers, with commas between them")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for way in args.ways.split(","):
        for rate in map(float, args.rates.split(",")):
            for seed in map(int, args.seeds.split(",")):
                figures = measure(way, rate, seed, args)
                shown = "  ".join(f"{name} {figure:,.1f}" for name, figure in figures.items())
                print(f"{way:7} rate {rate:g} seed {seed}: {shown}", flush=True)


if __name__ == "__main__":
    main()
