"""A component as SystemVerilog text."""

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["to_verilog"]


def to_verilog(component: wiring.Component, name: str) -> str:
    """SystemVerilog of ``component`` as module ``name``; its ports are its members.

    A member of an interface becomes ``<path>__<member>``, so the stream ``i`` has the ports
    ``i__payload`` (its struct as one vector, the first field in the lowest bits), ``i__valid`` and
    ``i__ready``. The same component gives the same bytes on any machine: no source positions, no
    internal attributes.
    """
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    # Event-driven simulators never enter an `always @*` whose inputs do not change, which leaves
    # its outputs unknown (amaranth-lang/amaranth#594, #1629). `always_comb` runs once at time 0.
    return text.replace("always @*", "always_comb")
