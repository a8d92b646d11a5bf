"""The command `mm-client`: the video pipeline, and one-off inference with any model.

The library behind it is `mm_client_api`, whose public names are here as well. It is a package of its own because the
published pipeline script is called mm_client.py too: run from its own folder, it hides this package from imports.
"""

from mm_client_api import *  # noqa: F403
