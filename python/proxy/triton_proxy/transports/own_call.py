"""A call that the proxy makes to itself, to know whether its callers' listener answers."""

from __future__ import annotations

import secrets
import tempfile

import grpc

# A socket's path has 108 bytes in all (unix(7)).
_LONGEST_FOLDER = 80


class OwnCall:
    """Calls a method of a name that nobody else knows, over a socket that nobody else may open.

    What serves callers serves it too: the engine's loop, or the threads of grpc's server. A listener that would not
    answer them does not answer this.

    Attributes:
        method: the method, to be answered with nothing.
        path: the socket, on which the server has to listen, too.
        address: the same as grpc writes it.
    """

    def __init__(self) -> None:
        """Makes a folder for the socket, which `close` removes.

        Raises:
            RuntimeError: there is no place for it.
        """
        self.method = f"/triton_proxy.Own/{secrets.token_hex(32)}"
        root = tempfile.gettempdir()
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix="triton-proxy-",
                dir=root if len(root) <= _LONGEST_FOLDER else "/tmp",  # noqa: S108 - 0700 below it
            )
        except OSError as error:
            raise RuntimeError(
                f"HEALTH_LISTEN_ADDR needs a folder for temporary files that can be written ({error.strerror}); mount "
                "one at /tmp or set TMPDIR"
            ) from None
        self.path = f"{self._folder.name}/own"
        self.address = f"unix:{self.path}"
        self._channel: grpc.Channel | None = None

    def answered(self, timeout_secs: float) -> bool:
        """Whether it is answered.

        Args:
            timeout_secs: longest time to wait.
        """
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            self.method, request_serializer=bytes
        )
        try:
            call(b"", timeout=timeout_secs, wait_for_ready=True)
        # A channel that is closed raises a ValueError, one for which there is no thread a RuntimeError.
        except (grpc.RpcError, ValueError, RuntimeError):
            return False
        return True

    def close(self) -> None:
        """Calls no more."""
        if self._channel is not None:
            self._channel.close()
        self._folder.cleanup()
