"""The wire contract in Python: generated messages and stubs, and the table of element types.

`pb` holds the messages and enums of proto/multimodal.proto, `pb_grpc` the stubs, `kserve` what our clients use of
KServe's v2 protocol; all are generated at build time.
"""

from multimodal_contract._gen import kserve_pb2 as kserve
from multimodal_contract._gen import multimodal_pb2 as pb
from multimodal_contract._gen import multimodal_pb2_grpc as pb_grpc

CHAT_METHOD = "/multimodal.MultimodalService/Chat"
SEND_UNARY_METHOD = "/multimodal.MultimodalService/SendUnary"
SERVICE_NAME = "multimodal.MultimodalService"

# Metadata by which the proxy tells a client library what it may do; others need not look at it.
# Initial metadata of a Chat call: somebody is there to accept its packets.
ADMITTED = ("mm-admitted", "yes")
# Trailing metadata of a call that the proxy itself ended: packets without an Ack were not accepted and may be sent
# again.
NOT_ACCEPTED = ("mm-unanswered", "not-accepted")
# Key of the trailing metadata that says, in milliseconds, when that makes sense.
RETRY_AFTER_MS = "retry-after-ms"
# Trailing metadata beside it: no Triton is running yet. It makes sense to go on trying for minutes.
STARTING = ("mm-triton", "starting")

# Largest HTTP/2 frame that either side takes. Of grpc's default, 16 KiB, a packet of 5 MB takes 300, each handled by
# itself: 6 % of what the packet costs the proxy.
FRAME_BYTES = 4 * 1024 * 1024

__all__ = [
    "ADMITTED",
    "CHAT_METHOD",
    "FRAME_BYTES",
    "NOT_ACCEPTED",
    "RETRY_AFTER_MS",
    "SEND_UNARY_METHOD",
    "SERVICE_NAME",
    "STARTING",
    "kserve",
    "pb",
    "pb_grpc",
]
