"""A component as SystemVerilog text."""

from collections.abc import Callable

from amaranth import ClockSignal, Instance, Module, ResetSignal
from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["Shared", "to_verilog"]


class _Text:
    """The platform of a conversion: collects the modules that are written once."""

    def __init__(self):
        self.modules: dict[str, wiring.Component] = {}

    def need(self, name: str, component: wiring.Component) -> None:
        if self.modules.setdefault(name, component) is not component:
            raise ValueError(f"name must be that of one component, not of two: {name!r}")


class Shared(wiring.Component):
    """One of many places where ``component`` stands; its Verilog is written once.

    A regular array is thousands of equal cells. Elaborating each again takes minutes, and so does
    compiling what comes out. The places share one component object, which becomes a module called
    ``name`` with an instance in each place: black boxes to Amaranth's own simulator.

    Members and timing are those of the component, which has registers in ``sync`` and no other
    clock domain. ``make()`` makes another one, for proofs, which look inside each place; without it
    there can be only one place.
    """

    def __init__(self, name: str, component: wiring.Component,
                 make: Callable[[], wiring.Component] | None = None):
        self._name, self._component = name, component
        self._make = make or (lambda: component)
        super().__init__(component.signature)

    def elaborate(self, platform):
        if isinstance(platform, _Text):
            platform.need(self._name, self._component)
        elif platform == "formal":
            m = Module()
            m.submodules.shared = component = self._make()
            wiring.connect(m, wiring.flipped(self), component)
            return m
        elif platform is not None:
            platform.add_file(f"{self._name}.sv", to_verilog(self._component, self._name))
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal(allow_reset_less=True)}
        for path, member, value in self.signature.flatten(self):
            direction = "i" if member.flow is wiring.In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = value
        return Instance(self._name, **ports)


def to_verilog(component: wiring.Component, name: str) -> str:
    """SystemVerilog of ``component`` as module ``name``; its ports are its members.

    A member of an interface becomes ``<path>__<member>``, so the stream ``i`` has the ports
    ``i__payload`` (its struct as one vector, the first field in the lowest bits), ``i__valid`` and
    ``i__ready``. The same component gives the same bytes on any machine: no source positions, no
    internal attributes. Modules of :class:`Shared` follow the others, each once.
    """
    text, pending, done = "", {name: component}, set()
    while pending:
        module, part = pending.popitem()
        done.add(module)
        platform = _Text()
        text += verilog.convert(part, name=module, platform=platform, emit_src=False,
                                strip_internal_attrs=True)
        pending |= {other: c for other, c in platform.modules.items() if other not in done}
    # Event-driven simulators never enter an `always @*` whose inputs do not change, which leaves
    # its outputs unknown (amaranth-lang/amaranth#594, #1629). `always_comb` runs once at time 0.
    return text.replace("always @*", "always_comb")
