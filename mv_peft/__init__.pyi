from .encoders import disable_video as disable_video
from .encoders import enable_video as enable_video
from .hub import load as load
from .tuners import MVAdapterConfig as MVAdapterConfig
from .tuners import MVAdapterModel as MVAdapterModel
from .tuners import create_method as create_method
from .tuners.mv_adapter.official import load_official_checkpoint as load_official_checkpoint
from .tuners.mv_adapter.official import official_state_dict as official_state_dict

__version__: str
