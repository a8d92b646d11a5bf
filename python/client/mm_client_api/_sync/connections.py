"""The connections of a blocking client."""

from __future__ import annotations

import threading

import grpc

from mm_client_api._core.endpoint import Endpoint
from mm_client_api._core.fork import abandon, note_connection


class Connections:
    """The client's connections, opened as they are needed.

    Args:
        endpoint: where they lead.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._opening = threading.Lock()
        self._closed = False
        self._channels: list[grpc.Channel] = []

    def get(self, number: int) -> grpc.Channel:
        """Return the channel of that number, from 0; once they are closed, a closed one."""
        endpoint = self._endpoint
        with self._opening:
            # A closed client in a forked process has none at all.
            while len(self._channels) <= number and not (self._closed and self._channels):
                note_connection()
                secure = endpoint.channel_credentials
                self._channels.append(
                    grpc.insecure_channel(endpoint.addr, options=endpoint.options)
                    if secure is None
                    else grpc.secure_channel(endpoint.addr, secure, options=endpoint.options)
                )
                if self._closed:
                    self._channels[-1].close()
            return self._channels[min(number, len(self._channels) - 1)]

    def after_fork(self) -> None:
        """Leave the parent its connections, and a lock that one of its threads may hold."""
        self._opening = threading.Lock()
        abandon(*self._channels)
        self._channels = []

    def close(self) -> None:
        """Close them all."""
        with self._opening:
            self._closed = True
            for channel in self._channels:
                channel.close()
