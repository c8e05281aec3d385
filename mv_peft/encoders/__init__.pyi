from .fingerprint import fingerprint as fingerprint
from .fingerprint import same_base as same_base
from .processing import MVProcessor as MVProcessor
from .video_input import disable_video as disable_video
from .video_input import enable_video as enable_video
