"""Decodes the next shard while the current one is computed."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from robustbench_aigen.engine.shards import Shard, ShardImages, decode_shard

_MOST = 512 * 1024**2
"""Bytes of a decoded shard beyond which the next shard waits, because two shards would be in memory."""


class Lookahead:
    """Returns decoded shards, and decodes the next shard in the background.

    The result does not depend on prefetching. At most one shard is decoded ahead, and none while shards are so large
    that computing on them takes far longer anyway.
    """

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._next: tuple[Shard, Future[ShardImages]] | None = None
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.shutdown(cancel_futures=True)

    def prepare(self, shard: Shard) -> None:
        """Start decoding a shard in the background."""
        if self._bytes <= _MOST:
            self._next = (shard, self._reader.submit(decode_shard, shard))

    def take(self, shard: Shard) -> ShardImages:
        """Return a shard's images."""
        prepared, self._next = self._next, None
        images = prepared[1].result() if prepared and prepared[0] is shard else decode_shard(shard)
        self._bytes = images.bytes
        return images
