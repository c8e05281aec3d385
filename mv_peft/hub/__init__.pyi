from .load import LoadedAdapter as LoadedAdapter
from .load import load as load
from .pull import pull_adapter as pull_adapter
from .push import push_adapter as push_adapter
from .remote import AdapterInfo as AdapterInfo
from .remote import list_adapters as list_adapters
