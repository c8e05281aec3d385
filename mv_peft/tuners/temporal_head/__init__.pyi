from .config import TemporalHeadConfig as TemporalHeadConfig
from .model import TemporalHeadModel as TemporalHeadModel
