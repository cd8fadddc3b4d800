"""Pauses on all channels of another party's masters and memories (cocotbext-axi)."""

from sim.benches.agents import rng

__all__ = ["pause"]


def _pauses(*names: object, stall: float):
    random = rng(*names)
    while True:
        yield random.random() < stall


def pause(side, stall: float) -> None:
    """Have each channel of ``side``, a master or a memory, pause with probability ``stall``."""
    for name, channel in (("aw", side.write_if.aw_channel), ("w", side.write_if.w_channel),
                          ("b", side.write_if.b_channel), ("ar", side.read_if.ar_channel),
                          ("r", side.read_if.r_channel)):
        channel.set_pause_generator(_pauses(type(side).__name__, name, stall=stall))
