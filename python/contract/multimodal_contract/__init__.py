"""The wire contract in Python: generated messages and stubs, and the table of element types.

`pb` holds the messages and enums of proto/multimodal.proto, `pb_grpc` the stubs; both are generated at build time.
"""

from multimodal_contract._gen import multimodal_pb2 as pb
from multimodal_contract._gen import multimodal_pb2_grpc as pb_grpc

CHAT_METHOD = "/multimodal.MultimodalService/Chat"
SEND_UNARY_METHOD = "/multimodal.MultimodalService/SendUnary"
SERVICE_NAME = "multimodal.MultimodalService"

__all__ = ["CHAT_METHOD", "SEND_UNARY_METHOD", "SERVICE_NAME", "pb", "pb_grpc"]
