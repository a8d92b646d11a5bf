"""The thin proxy in front of Triton.

Follow one packet: `server` accepts the call, `door` asks `domino_identity` for its caller, `chat` reads the stream,
`triton` asks for the inference of what `packet` found well-formed, and `reply` makes the Ack. No module imports one
above it in that order; `packet` and `reply` know neither grpc nor the settings.
"""
