"""Training: the loss over all processes, large batches on small memory, and the recipes."""

from .arguments import RetrievalTrainingArguments
from .batches import PairCollator
from .distributed import gather_with_grad
from .gradient_cache import cached_step
from .loss import PairLoss, contrastive_loss, freeze_logit_scale, pair_loss, sigmoid_loss
from .memory import MemoryEstimate, estimate_memory
from .optimizer import BertAdam, warmup_cosine, warmup_cosine_schedule
from .progress import ProgressBar
from .recipes import RECIPES, Recipe, get_recipe
from .run import TrainingRun, TrainOutcome, TrainPlan
from .run_file import RunFacts
from .settings import TrainSettings
from .trainer import RetrievalTrainer

__all__ = [
    "RECIPES",
    "BertAdam",
    "MemoryEstimate",
    "PairCollator",
    "PairLoss",
    "ProgressBar",
    "Recipe",
    "RetrievalTrainer",
    "RetrievalTrainingArguments",
    "RunFacts",
    "TrainOutcome",
    "TrainPlan",
    "TrainSettings",
    "TrainingRun",
    "cached_step",
    "contrastive_loss",
    "estimate_memory",
    "freeze_logit_scale",
    "gather_with_grad",
    "get_recipe",
    "pair_loss",
    "sigmoid_loss",
    "warmup_cosine",
    "warmup_cosine_schedule",
]
