"""BadSample: what a shard or a video holds that is not what it should be, in one sentence and in words to count by."""

from hallo3_lightning.errors import UsageError


class BadSample(UsageError):
    """A sample that does not keep the contract of `datamodules.shards`.

    shard, key, member: where it is, each "" where that is not known; reason: a short fixed phrase to count by, such as
    "missing member", "undecodable member", "wrong size", "non-finite sound", "too short".
    """

    # one positional argument and plain attributes: so it survives pickling on its way out of a worker process
    def __init__(self, message: str, *, shard: str = "", key: str = "", member: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.shard = shard
        self.key = key
        self.member = member
        self.reason = reason
