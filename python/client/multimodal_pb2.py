"""The contract's messages and enums under the name that published scripts import: `import multimodal_pb2 as pb`."""

from multimodal_contract._gen.multimodal_pb2 import *  # noqa: F403
