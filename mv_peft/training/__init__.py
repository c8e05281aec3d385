"""Training: the loss over all processes, large batches on small memory, and the recipes."""

from .arguments import RetrievalTrainingArguments
from .batches import PairCollator
from .cached import cached_step
from .distributed import gather_with_grad
from .loss import contrastive_loss, freeze_logit_scale
from .memory import MemoryEstimate, estimate_memory
from .optimizer import BertAdam, warmup_cosine, warmup_cosine_schedule
from .recipes import RECIPES, Recipe, get_recipe
from .trainer import RetrievalTrainer

__all__ = [
    "RECIPES",
    "BertAdam",
    "MemoryEstimate",
    "PairCollator",
    "Recipe",
    "RetrievalTrainer",
    "RetrievalTrainingArguments",
    "cached_step",
    "contrastive_loss",
    "estimate_memory",
    "freeze_logit_scale",
    "gather_with_grad",
    "get_recipe",
    "warmup_cosine",
    "warmup_cosine_schedule",
]
