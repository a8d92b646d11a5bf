"""The asyncio client: tasks and grpc.aio's calls around `_core`."""
